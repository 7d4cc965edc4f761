"""Runs the query tower: tensors of features in, query vectors out.

Two runners stand behind one interface: LiteRT, which needs no TensorFlow and is the default, and TensorFlow itself for
towers that LiteRT cannot express. ``open_query_tower`` picks by what the artifact holds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.errors import Reason
from bascule_server.scoring.padded_sizes import PADDED_SIZES, padded, padded_batches


class QueryTower(Protocol):
    """Turns features into vectors. A row's vector does not depend on the other rows of its batch, to the last bit."""

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """float32 [rows, dimension], for inputs [rows, ...] by the feature's name, with at least one row."""


def open_query_tower(folder: Path) -> QueryTower:
    """The runner for the query tower of an artifact.

    Raises:
        ArtifactError: there is no query tower, or it cannot be run.
    """
    try:
        if (folder / file_names.QUERY_TOWER_LITERT).is_file():
            return LiteRtTower(folder / file_names.QUERY_TOWER_LITERT)
        if (folder / file_names.QUERY_TOWER_SAVED_MODEL).is_dir():
            return SavedModelTower(folder / file_names.QUERY_TOWER_SAVED_MODEL)
    except ImportError as error:
        raise ArtifactError(
            f"{folder}: the query tower cannot be opened: {error}", Reason.FORMAT_UNSUPPORTED
        ) from error
    except (ValueError, RuntimeError, OSError) as error:
        raise ArtifactError(f"{folder}: the query tower cannot be opened: {error}") from error
    raise ArtifactError(
        f"{folder}: it has neither {file_names.QUERY_TOWER_LITERT} nor {file_names.QUERY_TOWER_SAVED_MODEL}/",
        Reason.FILE_MISSING,
    )


class LiteRtTower:
    """Runs a ``.tflite`` file, which it maps rather than reads. Called by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._interpreters = {PADDED_SIZES[0]: _Interpreter(path, PADDED_SIZES[0])}

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """See ``QueryTower``."""
        row_count = len(next(iter(inputs.values())))
        if row_count == 1:
            return self._interpreter(1).run(inputs)
        vectors = [
            self._interpreter(size).run({name: padded(tensor[rows], size) for name, tensor in inputs.items()})[
                : rows.stop - rows.start
            ]
            for rows, size in padded_batches(row_count)
        ]
        return np.concatenate(vectors)

    def _interpreter(self, size: int) -> "_Interpreter":
        if size not in self._interpreters:
            self._interpreters[size] = _Interpreter(self._path, size)
        return self._interpreters[size]


class _Interpreter:
    """One LiteRT interpreter, prepared for one number of rows."""

    def __init__(self, path: Path, size: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=1)
        signature = self._interpreter.get_signature_runner()
        inputs = signature.get_input_details()
        self._inputs = {name: detail["index"] for name, detail in inputs.items()}
        (self._output,) = (detail["index"] for detail in signature.get_output_details().values())
        # The runner refers to the tensors, which cannot be resized as long as anything does.
        del signature
        for detail in inputs.values():
            self._interpreter.resize_tensor_input(detail["index"], [size, *detail["shape_signature"][1:]])
        self._interpreter.allocate_tensors()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, inputs[name])
        self._interpreter.invoke()
        vectors: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return vectors


class SavedModelTower:
    """Runs a SavedModel with TensorFlow, which it imports: the fallback for towers that LiteRT cannot express."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._model = tf.saved_model.load(str(folder))
        self._signature = self._model.signatures["serving_default"]
        self._tensor = tf.constant
        self._inputs = sorted(self._signature.structured_input_signature[1])

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """See ``QueryTower``. Computed row by row: TensorFlow's products may round differently in other batches."""
        row_count = len(next(iter(inputs.values())))
        rows = [
            self._signature(**{name: self._tensor(inputs[name][row : row + 1]) for name in self._inputs})
            for row in range(row_count)
        ]
        return np.concatenate([next(iter(row.values())).numpy() for row in rows])
