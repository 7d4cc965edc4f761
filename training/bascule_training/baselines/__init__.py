"""Strong and cheap baselines, to stand beside a model in the same table.

Each is fitted on histories and then scores all items for any history.
"""

from bascule_training.baselines.tuning import tuned_baselines

__all__ = ["tuned_baselines"]
