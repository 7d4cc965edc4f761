"""One version of a model on disk: which files it has, and the proof that they are whole and who made them.

file_names.py        which files
reading.py           opens a folder and checks that it is what its manifest says
manifest_checks.py   what a manifest may say
signature.py         who published it
stored_arrays.py     arrays of a file, without pickle; stored_tables.py, tables
tables.py            how a person is shown all of it
"""
