"""Trains two-tower models and publishes them; the way of a run is read in ``train``.

Public are ``config.load_config``, ``train.train`` and the commands ``bascule train`` and ``bascule data``.
"""
