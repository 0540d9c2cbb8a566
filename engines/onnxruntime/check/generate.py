"""Writes the tiny networks that `verge engine check` runs. Needs the tool chain's environment; the results are committed.

model.onnx: y = x @ w + b over [N, 3]. words.onnx: strings in, the same strings out, next to an integer that is doubled.
"""

import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


def save(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "check", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="verge")
    model.ir_version = 7
    onnx.checker.check_model(model)
    for folder in (HERE, HERE.parent.parent / "openvino" / "check"):
        if name == "model.onnx" or folder == HERE:
            (folder / name).write_bytes(model.SerializeToString(deterministic=True))


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


weights = numpy.array([[1, 0], [0.5, -1], [2, 0.25]], numpy.float32)
bias = numpy.array([0.125, -3], numpy.float32)
save(
    "model.onnx",
    [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])],
    [value("x", TensorProto.FLOAT, ["N", 3])],
    [value("y", TensorProto.FLOAT, ["N", 2])],
    [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
)
save(
    "words.onnx",
    [helper.make_node("Identity", ["words"], ["same_words"]), helper.make_node("Add", ["count", "count"], ["twice"])],
    [value("words", TensorProto.STRING, ["N"]), value("count", TensorProto.INT64, ["N"])],
    [value("same_words", TensorProto.STRING, ["N"]), value("twice", TensorProto.INT64, ["N"])],
)
