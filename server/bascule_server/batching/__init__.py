"""The rows of all calls together: who is let in, who waits, what is computed at a time.

admission.py         how many rows a server holds
row_queue.py         who waits, for how long, and who waits in vain; fair_shares.py among callers
batch_forming.py     which rows are computed together
batcher.py           has them computed and hands the answers out
"""
