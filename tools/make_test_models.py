#!/usr/bin/env python3
"""Writes the models that the tests need, by name, into a folder.

    .venv/toolchain/bin/python tools/make_test_models.py FOLDER NAME...      (`all` for every one; --list shows them)

A name is the file or folder that is written, or that of a group. Weights come from a fixed seed; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

MAKERS = {}  # name -> function(folder); a function may write several files
BIG_SIDE = 2290  # five square f32 matrices of this side are 100 MiB
BIG_LAYERS = 5


def makes(*names):
    def register(function):
        for name in names:
            MAKERS[name] = function
        return function

    return register


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save_module(function, folder: pathlib.Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.serve = function
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})


def save_onnx(path: pathlib.Path, nodes, inputs, outputs, initializers=(), opset=17, domains=(), check=True) -> None:
    import onnx
    from onnx import helper

    graph = helper.make_graph(nodes, path.stem, inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="make_test_models")
    if check:
        onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def value(name: str, kind: str, shape):
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)


# ---------------------------------------------------------------- several inputs and outputs


@makes("multi_io")
def multi_io(folder: pathlib.Path) -> None:
    import tensorflow as tf

    weights = tf.constant(random(1, 12, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="left"), tf.TensorSpec([None, 4], tf.float32, name="right")])
    def serve(left, right):
        joined = tf.concat([left, right], 1)
        return {"scores": tf.nn.softmax(joined @ weights), "joined": joined}

    save_module(serve, folder / "multi_io")


@makes("multi_io.onnx")
def multi_io_onnx(folder: pathlib.Path) -> None:
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Concat", ["left", "right"], ["joined"], axis=1),
        helper.make_node("MatMul", ["joined", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    save_onnx(
        folder / "multi_io.onnx",
        nodes,
        [value("left", "FLOAT", ["n", 8]), value("right", "FLOAT", ["n", 4])],
        [value("scores", "FLOAT", ["n", 3]), value("joined", "FLOAT", ["n", 12])],
        [numpy_helper.from_array(random(1, 12, 3), "weights")],
    )


# ---------------------------------------------------------------- dynamic dimensions


@makes("dynamic_dims.onnx")
def dynamic_dims(folder: pathlib.Path) -> None:
    """A fully convolutional network: batch, height and width are free."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["map"], pads=[1, 1, 1, 1]),
    ]
    save_onnx(
        folder / "dynamic_dims.onnx",
        nodes,
        [value("image", "FLOAT", ["n", 3, "height", "width"])],
        [value("map", "FLOAT", ["n", 2, "height", "width"])],
        [numpy_helper.from_array(random(2, 4, 3, 3, 3), "w1"), numpy_helper.from_array(random(3, 2, 4, 3, 3), "w2")],
    )


# ---------------------------------------------------------------- first dimensions that are no batch, and one that is


@makes("first_dimension")
def first_dimension(folder: pathlib.Path) -> None:
    """y = x - mean(x): over the first dimension, which is then no batch, or over the last, of rows that know nothing of each other."""
    import tensorflow as tf
    from onnx import helper

    out = folder / "first_dimension"
    shutil.rmtree(out, ignore_errors=True)
    scratch = folder / f".first_dimension_{os.getpid()}"
    scratch.mkdir()
    for name, shape, axis in (("window", [9, 3], 0), ("planes", [3, 16, 16], 0), ("length", ["n", 3], 0), ("eight", [8, 3], 1), ("rows", ["n", 3], 1)):
        nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[axis]), helper.make_node("Sub", ["x", "m"], ["y"])]
        save_onnx(scratch / f"{name}.onnx", nodes, [value("x", "FLOAT", shape)], [value("y", "FLOAT", shape)])
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    save_onnx(scratch / "sum.onnx", nodes, [value("x", "FLOAT", [9, 3])], [value("y", "FLOAT", [])])

    @tf.function(input_signature=[tf.TensorSpec([9, 3], tf.float32, name="x")])
    def serve(x):
        return {"y": x - tf.reduce_mean(x, 0, keepdims=True)}

    save_module(serve, scratch / "window")
    (scratch / "window.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(scratch / "window")).convert())
    scratch.rename(out)


# ---------------------------------------------------------------- strings


@makes("strings.onnx")
def strings_onnx(folder: pathlib.Path) -> None:
    """Words in; the words with an exclamation mark, and the numbers of those that are known, out."""
    from onnx import helper, numpy_helper

    mark = numpy_helper.from_array(np.array(["!"], dtype=object), "mark")
    nodes = [
        helper.make_node("StringConcat", ["words", "mark"], ["shouted"]),
        helper.make_node(
            "LabelEncoder", ["words"], ["numbers"], domain="ai.onnx.ml", keys_strings=["edge", "cloud"], values_int64s=[1, 2], default_int64=-1
        ),
    ]
    save_onnx(
        folder / "strings.onnx",
        nodes,
        [value("words", "STRING", ["n"])],
        [value("shouted", "STRING", ["n"]), value("numbers", "INT64", ["n"])],
        [mark],
        opset=20,
        domains=[("ai.onnx.ml", 2)],
    )


@makes("strings")
def strings_saved_model(folder: pathlib.Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def serve(words):
        return {"shouted": tf.strings.join([words, "!"]), "bytes": tf.strings.length(words)}

    save_module(serve, folder / "strings")


# ---------------------------------------------------------------- loops


@makes("recurrent.keras")
def recurrent_keras(folder: pathlib.Path) -> None:
    """An LSTM over seven steps: a loop that can be written out."""
    import keras

    keras.utils.set_random_seed(5)
    steps = keras.Input((7, 3), name="steps")
    x = keras.layers.LSTM(6, return_sequences=True)(steps)
    x = keras.layers.GRU(5, reset_after=False)(x)
    keras.Model(steps, keras.layers.Dense(2, activation="softmax")(x)).save(folder / "recurrent.keras")


@makes("data_loop")
def data_loop(folder: pathlib.Path) -> None:
    """A loop whose number of steps depends on its input: it cannot be written out. Each sample is halved until its sum is at most 1."""
    import tensorflow as tf

    def large(v):
        return tf.reduce_sum(tf.abs(v), 1, keepdims=True) > 1.0

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        (x,) = tf.while_loop(lambda v: tf.reduce_any(large(v)), lambda v: [tf.where(large(v), v * 0.5, v)], [x])
        return {"y": x}

    save_module(serve, folder / "data_loop")


# ---------------------------------------------------------------- exits


def three_exits(body, folder: pathlib.Path) -> None:
    """body(tf, image, conv, answer) returns the outputs; `conv` is a convolution with a bias, `answer` a head."""
    import tensorflow as tf

    def conv(x, filters: int, seed: int, stride: int = 1):
        weights = tf.constant(random(seed, 3, 3, x.shape[-1], filters) / np.sqrt(9 * x.shape[-1]).astype(np.float32))
        return tf.nn.bias_add(tf.nn.conv2d(x, weights, stride, "SAME"), tf.constant(random(seed + 1, filters)))

    def answer(x, seed: int):
        pooled = tf.reduce_mean(x, [1, 2])
        return tf.nn.softmax(pooled @ tf.constant(random(seed, x.shape[-1], 5)))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 2], tf.float32, name="image")])
    def serve(image):
        return body(tf, image, conv, answer)

    save_module(serve, folder)


@makes("exits")
def exits(folder: pathlib.Path) -> None:
    """Networks with three exits each, by how the exits hang together."""

    def chain(tf, image, conv, answer):
        x = tf.nn.relu(conv(image, 4, 40))
        y = tf.nn.relu(conv(x, 6, 42, 2))
        z = tf.nn.relu(conv(y, 8, 44))
        return {"exit1": answer(x, 46), "exit2": answer(y, 47), "exit3": answer(z, 48), "other": z}

    def skip(tf, image, conv, answer):
        """The first exit stands inside a residual block, whose ends are both passed on; the third takes from the first stage and the image too."""
        x = conv(image, 4, 40)
        branch = tf.nn.relu(conv(x, 4, 42))
        y = tf.nn.relu(x + conv(branch, 4, 44))
        z = tf.nn.relu(conv(tf.concat([y, branch, image], -1), 8, 46))
        return {"exit1": answer(branch, 48), "exit2": answer(y, 49), "exit3": answer(z, 50)}

    def moved(tf, image, conv, answer):
        """What later stages take first would be a matrix whose rows are pixels, a shape, an activation beside its input, and an exit's answer."""
        x = tf.identity(conv(image, 4, 40))
        rows = tf.reshape(x, [-1, 4])
        first = tf.nn.softmax(tf.reduce_mean(tf.reshape(rows, [-1, 64, 4]), 1) @ tf.constant(random(46, 4, 5)))
        size = tf.shape(image)
        y = tf.nn.relu(tf.reshape(rows @ tf.constant(random(47, 4, 4)), tf.stack([size[0], size[1], size[2], 4])) + tf.nn.relu(x))
        second = tf.nn.softmax(tf.reduce_mean(y, [1, 2]) @ tf.constant(random(48, 4, 5)) + first)
        return {"exit1": first, "exit2": second, "exit3": answer(tf.nn.relu(conv(y, 4, 49)), 51)}

    def unbatched(tf, image, conv, answer):
        x = tf.nn.relu(conv(image, 4, 40))
        mean = tf.reduce_mean(x, [0, 1, 2])  # over all samples
        first = answer(x - mean, 42)
        y = tf.nn.relu(conv(image, 4, 43) + mean)
        return {"exit1": first, "exit2": answer(y, 45), "exit3": answer(conv(y, 4, 46), 48)}

    def apart(tf, image, conv, answer):
        x = tf.nn.relu(conv(image, 4, 40))
        return {"exit1": answer(x, 42), "exit2": answer(conv(image, 4, 43), 45), "exit3": answer(conv(x, 4, 46), 48)}

    def shapes(tf, image, conv, answer):
        x = tf.nn.relu(conv(image, 4, 40))
        return {"exit1": tf.reduce_mean(x, [1, 2]), "exit2": answer(conv(x, 4, 43), 45), "exit3": answer(conv(x, 4, 46), 48)}

    shutil.rmtree(folder / "exits", ignore_errors=True)
    for body in (chain, skip, moved, unbatched, apart, shapes):
        three_exits(body, folder / "exits" / body.__name__)


@makes("exits.keras")
def exits_keras(folder: pathlib.Path) -> None:
    """Two exits with batch normalisation and a loop in the second stage."""
    import keras

    keras.utils.set_random_seed(6)
    steps = keras.Input((7, 3), name="steps")
    x = keras.layers.BatchNormalization()(keras.layers.Conv1D(4, 3, padding="same")(steps))
    x = keras.layers.ReLU()(x)
    early = keras.layers.Dense(2, activation="softmax", name="early")(keras.layers.GlobalAveragePooling1D()(x))
    late = keras.layers.Dense(2, activation="softmax", name="late")(keras.layers.LSTM(5)(x))
    keras.Model(steps, {"early": early, "late": late}).save(folder / "exits.keras")


# ---------------------------------------------------------------- 100 MB


def big_weights():
    return [random(10 + i, BIG_SIDE, BIG_SIDE) / np.float32(np.sqrt(BIG_SIDE)) for i in range(BIG_LAYERS)]


@makes("big.onnx")
def big_onnx(folder: pathlib.Path) -> None:
    from onnx import helper, numpy_helper

    nodes, initializers, last = [], [], "x"
    for i, w in enumerate(big_weights()):
        out = "y" if i == BIG_LAYERS - 1 else f"t{i}"
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [out]))
        initializers.append(numpy_helper.from_array(w, f"w{i}"))
        last = out
    save_onnx(folder / "big.onnx", nodes, [value("x", "FLOAT", ["n", BIG_SIDE])], [value("y", "FLOAT", ["n", BIG_SIDE])], initializers)


@makes("big.xml")
def big_ir(folder: pathlib.Path) -> None:
    import openvino as ov
    from openvino import opset13

    x = opset13.parameter([-1, BIG_SIDE], np.float32, name="x")
    x.output(0).set_names({"x"})
    node = x
    for w in big_weights():
        node = opset13.matmul(node, opset13.constant(w), False, False)
    node.output(0).set_names({"y"})
    ov.save_model(ov.Model([node], [x], "big"), str(folder / "big.xml"), compress_to_fp16=False)


@makes("big.tflite")
def big_tflite(folder: pathlib.Path) -> None:
    import tensorflow as tf

    weights = [tf.constant(w) for w in big_weights()]

    @tf.function(input_signature=[tf.TensorSpec([1, BIG_SIDE], tf.float32, name="x")])
    def serve(x):
        for w in weights:
            x = x @ w
        return {"y": x}

    scratch = folder / f".big_{os.getpid()}"
    try:
        save_module(serve, scratch)
        (folder / "big.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(scratch)).convert())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# ---------------------------------------------------------------- hostile


def hostile_saved_model(folder: pathlib.Path, name: str, body) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        return {"y": body(tf, x)}

    save_module(serve, folder / name)


def reads_file(tf, x):
    return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)


def reads_file_in_branch(tf, x):
    """The operator stands in a function of the library, not in the graph itself."""
    return tf.cond(tf.reduce_sum(x) > 0, lambda: reads_file(tf, x), lambda: x)


def writes_file(tf, x):
    with tf.control_dependencies([tf.io.write_file("/tmp/written-by-a-model", "here")]):
        return tf.identity(x)


def prints_to_file(tf, x):
    tf.print(x, output_stream="file:///tmp/printed-by-a-model")
    return tf.identity(x)


def saves_checkpoint(tf, x):
    tf.raw_ops.SaveV2(prefix="/tmp/saved-by-a-model", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    return tf.identity(x)


def calls_python(tf, x):
    y = tf.py_function(lambda v: v + 1, [x], tf.float32)
    y.set_shape(x.shape)
    return y


def external(name: str, location: str, dims, length=None):
    from onnx import TensorProto

    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    if length is not None:
        tensor.external_data.add(key="length", value=str(length))
    return tensor


def claim(name: str, dims, data: bytes):
    from onnx import TensorProto

    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, raw_data=data)


@makes("hostile")
def hostile(folder: pathlib.Path) -> None:
    """Models that every door must refuse: hostile/ holds one a file or folder."""
    import keras
    from onnx import helper, numpy_helper

    out = folder / "hostile"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for body in (reads_file, reads_file_in_branch, writes_file, prints_to_file, saves_checkpoint, calls_python):
        hostile_saved_model(out, body.__name__, body)

    x = keras.Input((4,), name="x")
    model = keras.Model(x, keras.layers.Lambda(lambda v: v + 1)(x))
    model.save(out / "lambda.keras")
    model.save(out / "lambda.h5")

    def add(name: str, tensor, dims) -> None:
        nodes = [helper.make_node("Add", ["x", tensor.name], ["y"])]
        save_onnx(out / name, nodes, [value("x", "FLOAT", dims)], [value("y", "FLOAT", dims)], [tensor], check=False)

    add("climbing_data.onnx", external("w", "../../../../../../etc/passwd", [4]), ["n", 4])
    add("absolute_data.onnx", external("w", "/etc/passwd", [4]), ["n", 4])
    add("missing_data.onnx", external("w", "nowhere.bin", [4]), ["n", 4])
    add("claims_10gb.onnx", claim("w", [2_684_354_560], b"\0" * 16), [2_684_354_560])
    add("claims_exabytes.onnx", claim("w", [1 << 40, 1 << 40], b"\0" * 16), [1 << 40, 1 << 40])
    save_onnx(
        out / "makes_10gb.onnx",
        [helper.make_node("ConstantOfShape", ["shape"], ["zeros"]), helper.make_node("Gather", ["zeros", "x"], ["y"])],
        [value("x", "INT64", ["n"])],
        [value("y", "FLOAT", ["n"])],
        [numpy_helper.from_array(np.array([2_684_354_560], np.int64), "shape")],
    )
    save_onnx(
        out / "foreign_operator.onnx",
        [helper.make_node("Anything", ["x"], ["y"], domain="somewhere.else")],
        [value("x", "FLOAT", ["n"])],
        [value("y", "FLOAT", ["n"])],
        domains=[("somewhere.else", 1)],
        check=False,
    )
    (out / "noise.tflite").write_bytes(b"\x1c\0\0\0TFL3" + np.random.default_rng(7).bytes(4096))
    (out / "noise.onnx").write_bytes(np.random.default_rng(8).bytes(4096))
    (out / "noise.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + np.random.default_rng(9).bytes(4096))
    (out / "noise.keras").write_bytes(b"PK\x03\x04" + np.random.default_rng(10).bytes(4096))
    (out / "noise_saved_model").mkdir()
    (out / "noise_saved_model" / "saved_model.pb").write_bytes(np.random.default_rng(11).bytes(4096))


GROUPS = {"big": ["big.onnx", "big.xml", "big.tflite"], "all": None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true", help="show the names and end")
    args = parser.parse_args()
    GROUPS["all"] = list(MAKERS)
    if args.list:
        print("\n".join([*MAKERS, *(f"{g} = {' '.join(n)}" for g, n in GROUPS.items() if g != "all"), "all"]))
        return 0
    if not args.folder or not args.names:
        parser.error("a folder and at least one name are needed")
    names = [n for name in args.names for n in GROUPS.get(name, [name])]
    unknown = [n for n in names if n not in MAKERS]
    if unknown:
        parser.error(f"unknown model '{unknown[0]}'; --list shows the names")
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(names):
        MAKERS[name](args.folder)
        print(args.folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
