#!/usr/bin/env python3
"""Builds the models that clients' examples and the conformance tests expect, with `verge build`. Run with the tool chain's Python:

    .venv/toolchain/bin/python tools/make_conformance_models.py ZOO [--verge build/verge] [NAME …]

simple           INPUT0, INPUT1 INT32 [-1,16] → OUTPUT0 the sum, OUTPUT1 the difference
simple_int8      the same in INT8
simple_string    the same on decimal numbers as strings
simple_identity  INPUT0 BYTES [-1,16] → OUTPUT0
identity_fp32    INPUT0 FP32 [-1,-1] → OUTPUT0
simple_sequence  INPUT INT32 [-1,1] → OUTPUT: the input, one more where a sequence begins
repeat_int32     IN INT32 [10], DELAY UINT32 [10], WAIT UINT32 [1] → OUT INT32 [1]: ten exits, of which the k-th answers IN[k]
densenet_onnx    data_0 FP32 [3,224,224] → fc6_1 FP32 [3]: the mean of each channel, with colours as class names
preprocess_inception_ensemble  the same of pictures: INPUT BYTES [-1,1] → CLASSES FP32 [-1,3]
labelled         INPUT0 FP32 [-1,4] → OUTPUT0, with class names
"""
import argparse
import json
import os
import pathlib
import shutil
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


def onnx_bytes(name, nodes, inputs, outputs, initializers=()):
    """Tensors are as in a manifest."""
    import onnx
    from onnx import TensorProto, helper

    kinds = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32, "UINT32": TensorProto.UINT32}
    values = lambda tensors: [helper.make_tensor_value_info(t["name"], kinds[t["dtype"]], [d if d > 0 else "batch" for d in t["shape"]]) for t in tensors]
    graph = helper.make_graph(nodes, name, values(inputs), values(outputs), list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def tensor(name, dtype, *shape):
    return {"name": name, "dtype": dtype, "shape": list(shape), "batch_axis": 0 if shape[0] < 0 else -1}


def write_onnx_package(zoo, name, description, inputs, outputs, models, stages=(), labels=()):
    """A package as `verge build` writes it, of networks that it does not take as they are: `models` are the ONNX files' bytes, one a stage where there are stages."""
    artifacts, digest_of = [], make_bench_models.sha256
    for data in models:
        file = {"path": "model.onnx", "size": len(data), "sha256": digest_of(data)}
        artifacts.append({"id": digest_of(f"{file['path']}\t{file['size']}\t{file['sha256']}\n".encode()), "format": "onnx", "entry": "model.onnx", "batch": 0,
                          "converter": "tools/make_conformance_models.py", "generate_seconds": 0, "files": [file]})
    ids = [a["id"] for a in artifacts]
    source = digest_of("".join(ids).encode())
    variant = {"id": "onnxruntime-onnx-f32", "engine": "onnxruntime", "precision": "f32", "form": "", "device": "cpu", "conversion": "ok", "artifacts": ids, "options": {}}
    manifest = {
        "format": 1, "name": name, "version": 1, "description": description,
        "source": {"kind": "onnx", "name": "model.onnx", "sha256": source}, "build_key": source, "reference": "onnxruntime",
        "network": {"inputs": inputs, "outputs": outputs},
        "inputs": [{**t, "feeds": t["name"], "steps": []} for t in inputs], "outputs": [{**t, "from": t["name"], "steps": []} for t in outputs],
        "metric": {"kind": "none"}, "variants": [variant], "artifacts": artifacts,
    }
    if stages:
        manifest["stages"] = list(stages)
        variant["stages"] = [{"artifacts": [i]} for i in ids]
    names = "".join(f"{label}\n" for label in labels).encode()
    if labels:
        manifest["labels"] = {"file": "labels.txt", "sha256": digest_of(names)}
    folder = zoo / name / "1"
    text = json.dumps(manifest, indent=1)
    if (folder / "manifest.json").exists() and (folder / "manifest.json").read_text() == text:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for i, data in zip(ids, models):
        (folder / "artifacts" / i).mkdir(parents=True)
        (folder / "artifacts" / i / "model.onnx").write_bytes(data)
    if labels:
        (folder / "labels.txt").write_bytes(names)
    (folder / "manifest.json").write_text(text)


def channel_means(batched):
    from onnx import helper

    first = [-1] if batched else []
    inputs, outputs = [tensor("data_0", "FP32", *first, 3, 224, 224)], [tensor("fc6_1", "FP32", *first, 3)]
    node = helper.make_node("ReduceMean", ["data_0"], ["fc6_1"], axes=[2, 3] if batched else [1, 2], keepdims=0)
    return inputs, outputs, onnx_bytes("channel_means", [node], inputs, outputs)


def repeat_package(zoo, name):
    """Ten stages, each with an exit of its own; none gives a better answer than another. The times that a client asks for are taken and count for nothing."""
    from onnx import TensorProto, helper

    inputs = [tensor("IN", "INT32", 10), tensor("DELAY", "UINT32", 10), tensor("WAIT", "UINT32", 1)]
    stages, models = [], []
    for k in range(10):
        takes, gives = inputs if k == 0 else inputs[:1], tensor("OUT" if k == 9 else f"OUT_{k}", "INT32", 1)
        index = helper.make_tensor("index", TensorProto.INT64, [1], [k])
        models.append(onnx_bytes(f"stage_{k}", [helper.make_node("Gather", ["IN", "index"], [gives["name"]])], takes, [gives], [index]))
        stages.append({"exit": f"exit{k + 1}", "output": gives["name"], "network": {"inputs": takes, "outputs": [gives]}})
    write_onnx_package(zoo, name, "each exit answers one of the inputs", inputs, [tensor("OUT", "INT32", 1)], models, stages)


def build(verge, model, zoo, targets):
    done = subprocess.run([verge, "build", model, "-o", zoo, "--targets", *targets, "--no-profile"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"verge build {model}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")


def make(name, zoo, verge, scratch):
    # Made once: converters write other bytes each time, which would build each time.
    if (zoo / name / "1" / "manifest.json").exists() and name in BUILT:
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
    elif name == "densenet_onnx":
        inputs, outputs, model = channel_means(batched=False)
        write_onnx_package(zoo, name, "the mean of each channel", inputs, outputs, [model], labels=COLOURS)
    elif name == "preprocess_inception_ensemble":
        (scratch / f"{name}.onnx").write_bytes(channel_means(batched=True)[2])
        (scratch / "colours.txt").write_text("".join(f"{c}\n" for c in COLOURS))
        recipe = scratch / f"{name}.yaml"
        recipe.write_text(f"""name: {name}
model: {name}.onnx
labels: colours.txt
inputs:
  - name: INPUT
    dtype: BYTES
    shape: [1]
    steps:
      - decode: {{channels: 3, height: 224, width: 224}}
      - cast: {{dtype: FP32}}
      - transpose: {{perm: [2, 0, 1]}}
outputs:
  - {{name: CLASSES, from: fc6_1}}
""")
        build(verge, recipe, zoo, ["onnxruntime-onnx-f32"])
    elif name == "repeat_int32":
        repeat_package(zoo, name)
    elif name == "labelled":
        make_bench_models.write_package(zoo, name, [("INPUT0", "OUTPUT0", "FP32", [-1, 4])], labels=["cat", "dog", "fish", "bird"])
    else:
        sys.exit(f"unknown model '{name}'; known are {', '.join(NAMES)}")


NAMES = ["simple", "simple_int8", "simple_string", "simple_sequence", "simple_identity", "identity_fp32", "repeat_int32", "densenet_onnx", "preprocess_inception_ensemble", "labelled"]
BUILT = {"simple", "simple_int8", "simple_string", "simple_sequence", "preprocess_inception_ensemble"}
COLOURS = ("red", "green", "blue")


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
