"""Trains towers by gradient, epoch by epoch.

fit.py                             the loop, which stops where validation gets no better; checkpoint.py, its state
model.py                           the towers and the one step; losses.py; row_adam.py, its optimiser
feed.py                            the batches of an epoch; bags.py and packing.py make them of histories
competitors.py                     what a target competes with; known_positives.py, what is no negative
concatenated.py                    several trained models as one
"""
