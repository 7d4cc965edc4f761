"""The second stage: a ranking tower that is trained on what users turned to among the best items by retrieval.

``fit_ranker`` is the way in; ``bascule_server.scoring.ranker_inputs`` makes what the tower reads, here as in serving.
"""
