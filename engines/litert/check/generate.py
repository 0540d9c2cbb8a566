"""Writes the artifacts of the contract check, model.tflite (two inputs, two outputs, free batch) and int8.tflite (quantised), and what the
plugin compiles when it starts, ../warm_up_model.inc. Needs the tool chain's environment; the results are committed.
"""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)


class Model(tf.Module):
    def __init__(self):
        self.w = tf.constant(rng.standard_normal((4, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="a"), tf.TensorSpec([None, 4], tf.float32, name="b")])
    def serve(self, a, b):
        return {"score": tf.nn.softmax(tf.matmul(a + b, self.w)), "difference": a - b}


class Small(tf.Module):
    def __init__(self):
        self.k = tf.constant(rng.standard_normal((3, 3, 1, 2)).astype(np.float32))
        self.w = tf.constant(rng.standard_normal((2, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")])
    def serve(self, image):
        x = tf.nn.relu(tf.nn.conv2d(image, self.k, 2, "SAME"))
        return {"logits": tf.matmul(tf.reduce_mean(x, [1, 2]), self.w)}


def converter(module):
    folder = tempfile.mkdtemp()
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    return tf.lite.TFLiteConverter.from_saved_model(folder)


(here / "model.tflite").write_bytes(converter(Model()).convert())

c = converter(Small())
c.optimizations = [tf.lite.Optimize.DEFAULT]
c.representative_dataset = lambda: ([rng.standard_normal((1, 8, 8, 1)).astype(np.float32)] for _ in range(50))
c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
c.inference_input_type = c.inference_output_type = tf.int8
(here / "int8.tflite").write_bytes(c.convert())


class Twice(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
    def serve(self, x):
        return {"y": x + x}


# What the plugin compiles when it starts.
t = Twice()
c = tf.lite.TFLiteConverter.from_concrete_functions([t.serve.get_concrete_function()], t)
data = c.convert()
lines = [", ".join(f"0x{b:02x}" for b in data[i : i + 24]) for i in range(0, len(data), 24)]
(here.parent / "warm_up_model.inc").write_text(",\n".join(lines) + "\n")
