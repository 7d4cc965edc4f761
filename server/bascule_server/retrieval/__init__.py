"""From a query's vector to the items with the best scores, without looking at a score twice.

retriever.py          what a retriever does, and the one product that makes a score
exact.py              looks at every item: roughly first, by quantised_items.py, which litert_layer.py multiplies
indexed.py            looks into FAISS, whose lists coarse_quantizer.py and list_choice.py pick
allowed.py            which items a filter leaves
scored_pairs.py       queries and items with their scores, many queries at once
retrievers.py         those of an artifact
"""
