"""Answers gRPC calls with a model that `bascule train` published."""
