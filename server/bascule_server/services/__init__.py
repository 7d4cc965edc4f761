"""What a server answers, method by method; nothing of a transport stands here.

recommendation_service.py   unary calls and batches; streaming.py, streams
model_service.py            which models there are
health.py                   whether it serves; health_list.py, the newer call for all of it
"""
