"""Tells with every epoch of the classic model how well each of its heads did."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from bascule_training.classic.figures import HeadFigures
from bascule_training.classic.model import ClassicModel
from bascule_training.fitting.checkpoint import Progress
from bascule_training.fitting.fit import Epoch, Step


@dataclass(frozen=True, slots=True)
class ClassicEpoch(Epoch):
    """One epoch is done and judged. Its loss is the sum of the heads' losses."""

    heads: Mapping[str, HeadFigures]
    """By the name of the head."""


def with_heads(events: Iterator[Step | Epoch], model: ClassicModel) -> Generator[Step | ClassicEpoch, None, Progress]:
    """What ``bascule_training.fit.fit`` tells of a classic model, and with each epoch how well the heads did in it.

    Args:
        events: of ``fit``.
        model: which it trains.

    Returns:
        What ``fit`` returns.
    """
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            progress: Progress = end.value
            return progress
        if isinstance(event, Epoch):
            heads = model.take_figures()
            yield ClassicEpoch(event.number, sum(head.loss for head in heads.values()), event.quality, heads)
        else:
            yield event
