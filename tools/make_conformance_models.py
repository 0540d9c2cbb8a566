#!/usr/bin/env python3
"""Builds the models that clients' examples and the conformance tests expect, with `verge build`. Run with the tool chain's Python:

    .venv/toolchain/bin/python tools/make_conformance_models.py ZOO [--verge build/verge] [NAME …]

simple           INPUT0, INPUT1 INT32 [-1,16] → OUTPUT0 the sum, OUTPUT1 the difference
simple_int8      the same in INT8
simple_string    the same on decimal numbers as strings
simple_identity  INPUT0 BYTES [-1,16] → OUTPUT0
identity_fp32    INPUT0 FP32 [-1,-1] → OUTPUT0
simple_sequence  INPUT INT32 [-1,1] → OUTPUT: the input, one more where a sequence begins
labelled         INPUT0 FP32 [-1,4] → OUTPUT0, with class names
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import make_bench_models


def add_sub_onnx(path, dtype):
    import onnx
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, dtype)
    value = lambda name: helper.make_tensor_value_info(name, kind, ["batch", 16])
    # Arithmetic on INT32: not every engine adds bytes.
    nodes = [helper.make_node("Cast", [f"INPUT{i}"], [f"wide{i}"], to=TensorProto.INT32) for i in range(2)]
    nodes += [helper.make_node("Add", ["wide0", "wide1"], ["sum"]), helper.make_node("Sub", ["wide0", "wide1"], ["difference"])]
    nodes += [helper.make_node("Cast", [name], [f"OUTPUT{i}"], to=kind) for i, name in enumerate(("sum", "difference"))]
    graph = helper.make_graph(nodes, "add_sub", [value("INPUT0"), value("INPUT1")], [value("OUTPUT0"), value("OUTPUT1")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def add_sub_strings(folder):
    import tensorflow as tf

    strings = lambda name: tf.TensorSpec([None, 16], tf.string, name=name)

    @tf.function(input_signature=[strings("INPUT0"), strings("INPUT1")])
    def add_sub(INPUT0, INPUT1):  # noqa: N803
        # What is no number counts as 0: the model is tried with noise too.
        number = lambda x: tf.strings.to_number(tf.where(tf.strings.regex_full_match(x, "[-+]?[0-9]{1,9}"), x, "0"), tf.int32)
        a, b = number(INPUT0), number(INPUT1)
        return {"OUTPUT0": tf.strings.as_string(a + b), "OUTPUT1": tf.strings.as_string(a - b)}

    module = tf.Module()
    module.add_sub = add_sub
    tf.saved_model.save(module, str(folder), signatures={"serving_default": add_sub})


def sequence_onnx(path):
    import onnx
    from onnx import TensorProto, helper

    value = lambda name: helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", 1])
    graph = helper.make_graph([helper.make_node("Add", ["INPUT", "START"], ["OUTPUT"])], "sequence", [value("INPUT"), value("START")], [value("OUTPUT")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def build(verge, model, zoo, targets):
    done = subprocess.run([verge, "build", model, "-o", zoo, "--targets", *targets, "--no-profile"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"verge build {model}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")


def make(name, zoo, verge, scratch):
    # Made once: converters write other bytes each time, which would build each time.
    if (zoo / name / "1" / "manifest.json").exists() and name in ("simple", "simple_int8", "simple_string", "simple_sequence"):
        return
    if name in ("simple", "simple_int8"):
        add_sub_onnx(scratch / f"{name}.onnx", "INT8" if name == "simple_int8" else "INT32")
        build(verge, scratch / f"{name}.onnx", zoo, ["onnxruntime-onnx-f32"])
    elif name == "simple_string":
        add_sub_strings(scratch / name)
        build(verge, scratch / name, zoo, ["tensorflow-savedmodel-f32"])
    elif name == "simple_sequence":
        sequence_onnx(scratch / f"{name}.onnx")
        recipe = scratch / f"{name}.yaml"
        recipe.write_text(f"name: {name}\nmodel: {name}.onnx\nsequence:\n  controls: {{start: START}}\n")
        build(verge, recipe, zoo, ["onnxruntime-onnx-f32"])
    elif name == "simple_identity":
        make_bench_models.write_package(zoo, name, [("INPUT0", "OUTPUT0", "BYTES", [-1, 16])])
    elif name == "identity_fp32":
        make_bench_models.write_package(zoo, name, [("INPUT0", "OUTPUT0", "FP32", [-1, -1])])
    elif name == "labelled":
        make_bench_models.write_package(zoo, name, [("INPUT0", "OUTPUT0", "FP32", [-1, 4])], labels=["cat", "dog", "fish", "bird"])
    else:
        sys.exit(f"unknown model '{name}'; known are {', '.join(NAMES)}")


NAMES = ["simple", "simple_int8", "simple_string", "simple_sequence", "simple_identity", "identity_fp32", "labelled"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--verge", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "build" / "verge")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args.zoo.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.names or NAMES:
            make(name, args.zoo, args.verge, pathlib.Path(scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
