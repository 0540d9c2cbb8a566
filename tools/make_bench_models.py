#!/usr/bin/env python3
"""Writes packages of the identity engine that `verge serve` takes, without any conversion.

usage: make_bench_models.py ZOO [NAME DTYPE SHAPE]…      e.g. make_bench_models.py zoo identity FP32 -1,16

Without models: identity FP32 [-1,16] and image FP32 [-1,3,224,224]. Inputs are INPUT0, outputs OUTPUT0; a first dimension of -1 is the batch axis.
"""
import argparse
import hashlib
import json
import pathlib
import shutil
import sys

STANDARD = [("identity", "FP32", "-1,16"), ("image", "FP32", "-1,3,224,224")]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_package(zoo, name, tensors, delay_us=0, labels=()):
    """`tensors`: (input, output, dtype, shape)…; `labels`: names of the classes along the last axis."""
    def spec(tensor_name, dtype, shape):
        return {"name": tensor_name, "dtype": dtype, "shape": shape, "batch_axis": 0 if shape and shape[0] < 0 else -1}

    content = {"tensors": [{"name": i, "output": o, "dtype": d, "shape": s} for i, o, d, s in tensors]}
    if delay_us:
        content["delay_us"] = delay_us
    model = json.dumps(content).encode()
    file = {"path": "model.json", "size": len(model), "sha256": sha256(model)}
    digest = sha256(f"{file['path']}\t{file['size']}\t{file['sha256']}\n".encode())
    inputs = [spec(i, d, s) for i, _, d, s in tensors]
    outputs = [spec(o, d, s) for _, o, d, s in tensors]
    manifest = {
        "format": 1, "name": name, "version": 1, "description": "hands its inputs back",
        "source": {"kind": "onnx", "name": "model.json", "sha256": sha256(model)},
        "build_key": sha256(model + name.encode()), "reference": "identity",
        "network": {"inputs": inputs, "outputs": outputs},
        "inputs": [{**t, "feeds": t["name"], "steps": []} for t in inputs],
        "outputs": [{**t, "from": t["name"], "steps": []} for t in outputs],
        "metric": {"kind": "none"},
        "variants": [{"id": "identity-f32", "engine": "identity", "precision": "f32", "form": "", "device": "cpu", "conversion": "ok",
                      "artifacts": [digest], "options": {}}],
        "artifacts": [{"id": digest, "format": "identity", "entry": "model.json", "batch": 0, "converter": "tools/make_bench_models.py",
                       "generate_seconds": 0, "files": [file]}],
    }
    folder = zoo / name / "1"
    names = "".join(f"{label}\n" for label in labels).encode()
    if labels:
        manifest["labels"] = {"file": "labels.txt", "sha256": sha256(names)}
    text = json.dumps(manifest, indent=1)
    if (folder / "manifest.json").exists() and (folder / "manifest.json").read_text() == text:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "artifacts" / digest).mkdir(parents=True)
    (folder / "artifacts" / digest / "model.json").write_bytes(model)
    if labels:
        (folder / "labels.txt").write_bytes(names)
    (folder / "manifest.json").write_text(text)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=pathlib.Path)
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    if len(args.models) % 3:
        parser.error("each model is NAME DTYPE SHAPE")
    models = [tuple(args.models[i:i + 3]) for i in range(0, len(args.models), 3)] or STANDARD
    for name, dtype, shape in models:
        print(write_package(args.zoo, name, [("INPUT0", "OUTPUT0", dtype, [int(d) for d in shape.split(",")])]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
