"""A catalogue that changes while it is served.

    CatalogueService -> log (one for each model, on the disk) -> follower (one in each worker) -> version -> scorer

A change is a record of the log. The state of the catalogue at one revision is built beside the one that serves, from
the base that the artifact is and segments of items that came since, and takes its place by one assignment. Nothing of
a state changes: what is being answered goes on with the one that it began with.

Two things keep that cheap: ``compaction`` rewrites the log to the state that it leads to, and ``merge`` makes one
search of the base and what came.
"""
