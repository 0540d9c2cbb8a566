"""Writes the small networks of these tests. Needs the tool chain's environment; the results are committed."""

import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
F = TensorProto.FLOAT


def value(name, shape, dtype=F):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(name, nodes, inputs, outputs, initializers=(), check=True):
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="verge")
    model.ir_version = 7
    if check:
        onnx.checker.check_model(model)
    (HERE / name).write_bytes(model.SerializeToString(deterministic=True))


# The batch size of the file is fixed.
save("fixed1.onnx", [helper.make_node("Neg", ["x"], ["y"])], [value("x", [1, 3])], [value("y", [1, 3])])
# The first dimension is fixed everywhere, to a size that may be a batch or not.
save("fixed9.onnx", [helper.make_node("Neg", ["x"], ["y"])], [value("x", [9, 3])], [value("y", [9, 3])])
# The output has twice as many rows as went in, which its description does not tell.
save("double.onnx", [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)], [value("x", [None, 3])], [value("y", [None, 3])])
# Two inputs of differently named free dimensions, two outputs, one of them a scalar.
save(
    "several.onnx",
    [
        helper.make_node("MatMul", ["a", "b"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
    ],
    [value("a", ["rows", "inner"]), value("b", ["inner", "columns"])],
    [value("product", ["rows", "columns"]), value("sum", [])],
)
# A matrix product between quantised values, which ONNX Runtime runs in int8.
weights = numpy.arange(-16, 16, dtype=numpy.int8).reshape(8, 4)
save(
    "quantized.onnx",
    [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "ys", "yz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ],
    [value("x", ["N", 8])],
    [value("y", ["N", 4])],
    [
        numpy_helper.from_array(numpy.float32(0.5), "xs"),
        numpy_helper.from_array(numpy.uint8(0), "xz"),
        numpy_helper.from_array(weights, "wq"),
        numpy_helper.from_array(numpy.float32(0.25), "ws"),
        numpy_helper.from_array(numpy.int8(0), "wz"),
        numpy_helper.from_array(numpy.float32(4), "ys"),
        numpy_helper.from_array(numpy.uint8(128), "yz"),
    ],
)
# The output is no tensor.
save(
    "sequence.onnx",
    [helper.make_node("SequenceConstruct", ["x"], ["s"])],
    [value("x", ["N"])],
    [helper.make_tensor_sequence_value_info("s", F, ["N"])],
)
# Its weights are said to lie outside the folder.
outside = numpy_helper.from_array(numpy.zeros(3, numpy.float32), "w")
outside.ClearField("raw_data")
outside.data_location = TensorProto.EXTERNAL
entry = outside.external_data.add()
entry.key, entry.value = "location", "../../catalog_test.cc"
save("outside.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [value("x", ["N", 3])], [value("y", ["N", 3])], [outside], check=False)
