"""Writes a LiteRT model of one fully connected layer whose weights have 8 bits: the way to its integer kernels."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

INPUT, _WEIGHTS, OUTPUT = range(3)
"""The numbers of the model's tensors."""

_IDENTIFIER = b"TFL3"
_VERSION = 3
_NONE = -1
_OPERATOR_VERSION = 9
"""Has weights of 8 bits with a scale for each output, and inputs that are quantised as they come."""


def fully_connected(weights: NDArray[np.int8], scales: NDArray[np.float32]) -> bytes:
    """A model with one input, float32 [rows, dimension], and one output, float32 [rows, outputs].

    The input is quantised row by row: to 255 steps from its smallest component, or 0, to its largest, or 0. Where these
    are whole numbers that lie 255 apart, a step is 1 and nothing is lost.

    Args:
        weights: int8 [outputs, dimension].
        scales: float32 [outputs], above 0: what each output's weights are multiplied with.
    """
    outputs, dimension = weights.shape
    inputs = _tensor("inputs", (1, dimension), schema.TensorType.FLOAT32)
    layer = _tensor("weights", weights.shape, schema.TensorType.INT8)
    layer.buffer = 1
    layer.quantization = schema.QuantizationParametersT()
    layer.quantization.scale = scales
    layer.quantization.zeroPoint = np.zeros(outputs, np.int64)
    products = _tensor("products", (1, outputs), schema.TensorType.FLOAT32)

    options = schema.FullyConnectedOptionsT()
    options.asymmetricQuantizeInputs = True
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [INPUT, _WEIGHTS, _NONE], [OUTPUT]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = options

    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = [inputs, layer, products], [INPUT], [OUTPUT]
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = _OPERATOR_VERSION
    held = schema.BufferT()
    held.data = weights.reshape(-1).view(np.uint8)
    model = schema.ModelT()
    model.version = _VERSION
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [schema.BufferT(), held]

    builder = flatbuffers.Builder(weights.size + scales.nbytes)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _tensor(name: str, shape: tuple[int, ...], of: int) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(shape), of
    return tensor
