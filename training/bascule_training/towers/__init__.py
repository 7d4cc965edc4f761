"""What turns users and items into vectors whose dot product is the score.

two_towers.py              what a trained model is, however it was trained
query_tower.py             the choice of one: features_tower.py, history_bag.py, history_transformer.py
item_tower.py              an item's id and features
feature_embedding.py       features to one vector a row; feature_block.py and user_block.py, the layers that use it
"""
