"""Writes model.xml and model.bin from model.onnx, which engines/onnxruntime/check/generate.py writes. Needs the tool chain's environment."""

import pathlib

import openvino

HERE = pathlib.Path(__file__).parent
model = openvino.convert_model(HERE / "model.onnx")
model.output(0).get_tensor().set_names({"y"})
openvino.save_model(model, HERE / "model.xml", compress_to_fp16=False)
