"""From a fitted model to an artifact that is served.

artifact_writer.py     its files; export.py, the towers; item_index.py, the index of a large catalogue
recent_popularity.py   what a user about whom nothing is known is recommended
publish.py             staged, flushed and renamed into its place
"""
