"""Writes the artifacts of the contract check: model/ (variables, two inputs and outputs, two signatures) and words/ (strings). Needs the
tool chain's environment; run it in this folder."""
import pathlib
import shutil

import numpy as np
import tensorflow as tf

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)


class Model(tf.Module):
    def __init__(self):
        self.w = tf.Variable(rng.standard_normal((4, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="a"), tf.TensorSpec([None, 4], tf.float32, name="b")])
    def serve(self, a, b):
        return {"score": tf.nn.softmax(tf.matmul(a + b, self.w)), "difference": a - b, "copy": tf.identity(a)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def double(self, x):
        return {"y": x * 2}


class Words(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="words"), tf.TensorSpec([None], tf.int64, name="number")])
    def serve(self, words, number):
        return {"upper": tf.strings.upper(words), "joined": tf.strings.reduce_join(words, axis=1, separator=" "), "length": tf.strings.length(words),
                "next": number + 1}


def save(module, name, signatures):
    shutil.rmtree(here / name, ignore_errors=True)
    tf.saved_model.save(module, str(here / name), signatures=signatures)
    (here / name / "fingerprint.pb").unlink(missing_ok=True)
    shutil.rmtree(here / name / "assets", ignore_errors=True)


m = Model()
save(m, "model", {"serving_default": m.serve, "double": m.double})
w = Words()
save(w, "words", {"serving_default": w.serve})
