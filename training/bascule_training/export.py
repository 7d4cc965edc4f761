"""Exports towers: as SavedModels and as LiteRT files, which hold the same computation."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_server.ranker_inputs import NUMBERS
from bascule_training.two_towers import Tower


def export_saved_model(folder: Path, tower: Tower, features: Sequence[Feature], number_count: int = 0) -> None:
    """Writes a tower as a SavedModel with one signature, from its features to ``vector``.

    Args:
        folder: of the SavedModel.
        tower: the tower.
        features: what it reads.
        number_count: where not 0, it also reads the tensor ``numbers`` of a ranking tower, with so many columns.
    """
    specs = [_tensor_spec(feature) for feature in features]
    if number_count:
        specs.append(tf.TensorSpec([None, number_count], tf.float32, NUMBERS))
    module = tf.Module()
    module.saved_variables = tower.variables
    module.serve = tf.function(lambda **inputs: {"vector": tower.computation(inputs)})
    signature = module.serve.get_concrete_function(**{spec.name: spec for spec in specs})
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})


def convert_to_litert(saved_model: Path, path: Path) -> None:
    """Writes the LiteRT file of a SavedModel. Standard operators only; the weights stay float32."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    path.write_bytes(converter.convert())


def _tensor_spec(feature: Feature) -> tf.TensorSpec:
    match feature.WhichOneof("kind"):
        case "history":
            return tf.TensorSpec([None, feature.history.max_length], tf.int32, feature.name)
        case "multi_valued":
            return tf.TensorSpec([None, feature.multi_valued.max_count], tf.int32, feature.name)
        case "text":
            return tf.TensorSpec([None, feature.text.max_count], tf.int32, feature.name)
        case "standardised":
            return tf.TensorSpec([None], tf.float32, feature.name)
        case _:
            return tf.TensorSpec([None], tf.int32, feature.name)
