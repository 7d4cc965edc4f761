"""What training reads: a log, users and items, and how they are split.

generate.py, movielens.py   logs to begin with
table_file.py, tables.py    interactions, users and items from files
splits.py                   train, validation and test
features.py                 the features of users and items, declared from a table
histories.py                users' histories as two flat arrays; examples.py, what a step learns from them
frequency.py                how often items are sampled, for the logQ correction
"""
