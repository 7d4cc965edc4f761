"""Feeds a trainer: makes the batches of an epoch beside the steps that use them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bascule_training.data.examples import Examples
from bascule_training.fitting.competitors import CompetitorSampler
from bascule_training.fitting.model import StepTensors

_BATCHES_AHEAD = 4

MakeExamples = Callable[[np.random.Generator], Iterator[Examples]]
"""One pass over the data."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The batches of a run. Equal seeds give equal batches."""

    make: MakeExamples
    batch_count: int
    """Of an epoch."""
    sampler: CompetitorSampler | None
    """None where the softmax runs over the whole catalogue."""
    seed: int

    def epoch(self, number: int) -> Iterator[StepTensors]:
        """The batches of one epoch, made in a thread of their own while the trainer works."""
        first = next(self._batches(number))
        signature = StepTensors(*(tf.TensorSpec(array.shape, array.dtype) for array in first))
        # TensorFlow never lets go of the function that it is given, and with it would keep the log.
        source = [self]
        batches = tf.data.Dataset.from_generator(lambda: source[0]._batches(number), output_signature=signature)
        try:
            yield from batches.prefetch(_BATCHES_AHEAD)
        finally:
            source.clear()

    def _batches(self, number: int) -> Iterator[StepTensors]:
        random = np.random.default_rng([self.seed, number])
        for examples in self.make(random):
            yield self._tensors(examples, random)

    def _tensors(self, examples: Examples, random: np.random.Generator) -> StepTensors:
        of_examples = (examples.codes, examples.users, examples.targets, examples.weights)
        if self.sampler is None:
            nothing = np.empty(0, np.float32)
            return StepTensors(*of_examples, nothing, nothing, nothing, nothing)
        drawn = self.sampler.draw(examples, random)
        return StepTensors(*of_examples, drawn.rows, drawn.log_q, drawn.target_log_q, drawn.is_known)
