"""From questions to answers, with one version of a model; see ``scorer``, where the way begins.

query.py              questions and answers
subject.py            what is known of who asks; known_users.py, of whom the log tells
encoder.py            tensors of that, with n_grams.py for text
tower.py              vectors of these, as many at once as padded_sizes.py says
catalogue.py          the items: item_ids.py, columns.py of attributes, popularity
ranking_stage.py      the second stage, which reads ranker_inputs.py
listing.py            the shape of a list, with diversity.py; reasons.py, why an item is in it
golden.py             the questions and answers that prove an artifact
"""
