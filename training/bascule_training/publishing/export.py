"""Exports towers: as SavedModels and as LiteRT files, which hold the same computation."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.ranker_inputs import CONTEXT, ITEM, NUMBERS
from bascule_training.towers.two_towers import Tower


def export_saved_model(folder: Path, tower: Tower, features: Sequence[Feature]) -> None:
    """Writes a tower as a SavedModel with one signature, from its features to ``vector``."""
    _export(folder, tower, [_tensor_spec(feature) for feature in features])


def export_ranker(
    folder: Path, tower: Tower, number_count: int, context: Sequence[Feature] = (), item: Sequence[Feature] = ()
) -> None:
    """Writes a ranking tower so: from so many numbers of a candidate, and with a context also from these features."""
    read = {CONTEXT: context, ITEM: item} if context else {}
    specs = [_tensor_spec(feature, prefix) for prefix, features in read.items() for feature in features]
    _export(folder, tower, [tf.TensorSpec([None, number_count], tf.float32, NUMBERS), *specs])


def _export(folder: Path, tower: Tower, specs: Sequence[tf.TensorSpec]) -> None:
    module = tf.Module()
    module.saved_variables = tower.variables
    module.serve = tf.function(lambda **inputs: {"vector": tower.computation(inputs)})
    signature = module.serve.get_concrete_function(**{spec.name: spec for spec in specs})
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})


def convert_to_litert(saved_model: Path, path: Path) -> None:
    """Writes the LiteRT file of a SavedModel. Standard operators only; the weights stay float32."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    path.write_bytes(converter.convert())


def _tensor_spec(feature: Feature, prefix: str = "") -> tf.TensorSpec:
    name = f"{prefix}{feature.name}"
    match feature.WhichOneof("kind"):
        case "history":
            return tf.TensorSpec([None, feature.history.max_length], tf.int32, name)
        case "multi_valued":
            return tf.TensorSpec([None, feature.multi_valued.max_count], tf.int32, name)
        case "text":
            return tf.TensorSpec([None, feature.text.max_count], tf.int32, name)
        case "standardised":
            return tf.TensorSpec([None], tf.float32, name)
        case _:
            return tf.TensorSpec([None], tf.int32, name)
