"""Towers that are solved for, without gradient; ``solved`` chooses their settings on validation.

linear_towers.py       linear in the history: EASE, item-kNN, PureSVD and the spectral tower; spectral.py solves that
ials_towers.py         iALS
popularity_towers.py   the same for everybody
"""
