"""How good a model is, in figures that one can trust.

protocol.py, cases.py    who is asked what, and what counts as a good answer
metrics.py               the formulas, as pure functions of ranks
evaluated.py             a scorer's or a baseline's figures
groups.py, intervals.py  by who was asked and what was found; how far a figure can be trusted
results_table.py         for people at a terminal
"""
