"""Writes a LiteRT model of one fully connected layer whose weights have 8 bits: the way to its integer kernels.

The file is a FlatBuffer. Fields have the numbers that LiteRT's schema gives them, by their order there, and which never
change: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs. LiteRT brings classes for
that too, which take more memory than all the rest of a small catalogue.
"""

from collections.abc import Iterable, Mapping
from typing import NewType, TypeAlias

import flatbuffers
import numpy as np
from numpy.typing import NDArray

INPUT, _WEIGHTS, OUTPUT = range(3)
"""The numbers of the model's tensors."""

_IDENTIFIER = b"TFL3"
_MODEL_VERSION = np.uint32(3)
_FULLY_CONNECTED = 9
_FULLY_CONNECTED_OPTIONS = np.uint8(8)
_FULLY_CONNECTED_VERSION = np.int32(9)
"""Has weights of 8 bits with a scale for each output, and quantises its inputs as they come."""
_FLOAT32, _INT8 = np.int8(0), np.int8(9)
_NO_BIAS = -1
_SPARE_BYTES = 4_096

Part = NewType("Part", int)
"""Where a part of the file stands that others refer to."""
Field: TypeAlias = np.generic | Part


def fully_connected(weights: NDArray[np.int8], scales: NDArray[np.float32]) -> bytes:
    """A model with one input, float32 [rows, dimension], and one output, float32 [rows, outputs].

    The input is quantised row by row: to 255 steps from its smallest component, or 0, to its largest, or 0. Where these
    are whole numbers that lie 255 apart, a step is 1 and nothing is lost.

    Args:
        weights: int8 [outputs, dimension].
        scales: float32 [outputs], above 0: what each output's weights are multiplied with.
    """
    outputs, dimension = weights.shape
    file = _File(weights.nbytes + scales.nbytes + 8 * outputs + _SPARE_BYTES)
    zeros = np.zeros(outputs, np.int64)
    quantization = file.table({2: file.vector(scales), 3: file.vector(zeros), 6: np.int32(0)})
    tensors = [
        file.table({0: file.integers([1, dimension]), 1: _FLOAT32}),
        file.table({0: file.integers(weights.shape), 1: _INT8, 2: np.uint32(1), 4: quantization}),
        file.table({0: file.integers([1, outputs]), 1: _FLOAT32}),
    ]
    layer: dict[int, Field] = {
        1: file.integers([INPUT, _WEIGHTS, _NO_BIAS]),
        2: file.integers([OUTPUT]),
        3: _FULLY_CONNECTED_OPTIONS,
        4: file.table({3: np.bool_(True)}),
    }
    graph: dict[int, Field] = {
        0: file.tables(tensors),
        1: file.integers([INPUT]),
        2: file.integers([OUTPUT]),
        3: file.tables([file.table(layer)]),
    }
    operator: dict[int, Field] = {
        0: np.int8(_FULLY_CONNECTED),
        2: _FULLY_CONNECTED_VERSION,
        3: np.int32(_FULLY_CONNECTED),
    }
    model: dict[int, Field] = {
        0: _MODEL_VERSION,
        1: file.tables([file.table(operator)]),
        2: file.tables([file.table(graph)]),
        # The first buffer, of tensors that have no data, is empty.
        4: file.tables([file.table({}), file.table({0: file.vector(weights.reshape(-1).view(np.uint8))})]),
    }
    return file.finished(file.table(model))


class _File:
    """A FlatBuffer, which is written from its last part to its first."""

    def __init__(self, size: int) -> None:
        self._builder = builder = flatbuffers.Builder(size)
        self._scalars = {
            np.bool_: builder.PrependBoolSlot,
            np.int8: builder.PrependInt8Slot,
            np.uint8: builder.PrependUint8Slot,
            np.int32: builder.PrependInt32Slot,
            np.uint32: builder.PrependUint32Slot,
        }

    def vector(self, values: NDArray[np.generic]) -> Part:
        """Numbers [any], as they are."""
        return Part(self._builder.CreateNumpyVector(values))

    def integers(self, values: Iterable[int]) -> Part:
        """Numbers of 32 bits."""
        return self.vector(np.fromiter(values, np.int32))

    def tables(self, parts: list[Part]) -> Part:
        """Several tables."""
        self._builder.StartVector(4, len(parts), 4)
        for part in reversed(parts):
            self._builder.PrependUOffsetTRelative(part)
        return Part(self._builder.EndVector())

    def table(self, fields: Mapping[int, Field]) -> Part:
        """Fields by their number."""
        self._builder.StartObject(1 + max(fields, default=-1))
        for number, field in fields.items():
            if isinstance(field, np.generic):
                self._scalars[type(field)](number, field.item(), None)
            else:
                self._builder.PrependUOffsetTRelativeSlot(number, field, 0)
        return Part(self._builder.EndObject())

    def finished(self, root: Part) -> bytes:
        """All of it."""
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
