"""What the training scripts of fashion-exits and fashion-family share: the data, the blocks, the fit and the SavedModel.

Networks are trained with batch normalisation and written without it: its factors are folded into the convolutions before, so that what is served
is convolutions with a bias.
"""

import gzip
import os
import pathlib
import shutil
import struct

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

SEED = 20261122
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
# The first training images are kept out of the training: thresholds of exits and int8 ranges are calibrated with them.
HELD_OUT = 5000
BATCH = 128


def read_idx(path: pathlib.Path) -> np.ndarray:
    with gzip.open(path, "rb") as f:
        _, _, kind, rank = struct.unpack("4B", f.read(4))
        if kind != 8:
            raise ValueError(f"{path}: expected unsigned bytes, found IDX type {kind}")
        shape = struct.unpack(f">{rank}I", f.read(4 * rank))
        return np.frombuffer(f.read(), np.uint8).reshape(shape)


def load(folder: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`train`, `held_out` and `test`: images FP32 [n,28,28,1] in 0..1, and labels."""
    images = {p: read_idx(folder / f"{p}-images-idx3-ubyte.gz")[..., None].astype(np.float32) / 255 for p in ("train", "t10k")}
    labels = {p: read_idx(folder / f"{p}-labels-idx1-ubyte.gz").astype(np.int32) for p in ("train", "t10k")}
    return {
        "train": (images["train"][HELD_OUT:], labels["train"][HELD_OUT:]),
        "held_out": (images["train"][:HELD_OUT], labels["train"][:HELD_OUT]),
        "test": (images["t10k"], labels["t10k"]),
    }


class Blocks:
    """Layers of one network. `folded`: a convolution with a bias in the place of each convolution with batch normalisation."""

    def __init__(self, folded: bool):
        self._folded = folded

    def conv(self, x, filters: int, name: str, stride: int = 1, size: int = 3, relu: bool = True):
        x = keras.layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=self._folded, name=name)(x)
        if not self._folded:
            x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x

    def residual(self, x, filters: int, name: str, stride: int = 1, project: bool = False):
        """`project`: the number of filters changes, so the skip connection is a convolution too."""
        skip = self.conv(x, filters, f"{name}_skip", stride, size=1, relu=False) if project else x
        x = self.conv(x, filters, f"{name}_a", stride)
        x = self.conv(x, filters, f"{name}_b", relu=False)
        return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, skip]))

    def dropout(self, x, rate: float):
        return x if self._folded else keras.layers.Dropout(rate)(x)


def fit(model: keras.Model, data: dict, epochs: int, loss_weights=None) -> None:
    """Adam with a cosine schedule over flipped images; every output learns the labels."""
    x, y = data["train"]
    steps = epochs * (len(x) // BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        loss=["sparse_categorical_crossentropy"] * len(model.outputs),
        loss_weights=loss_weights,
    )
    count = len(model.outputs)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=SEED).batch(BATCH, drop_remainder=True)
    batches = batches.map(lambda x, y: (tf.image.random_flip_left_right(x, seed=SEED), (y,) * count if count > 1 else y), num_parallel_calls=1).prefetch(2)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)


def fold(trained: keras.Model, folded: keras.Model) -> None:
    """Gives `folded` the weights of `trained`, with each batch normalisation put into the convolution before it."""
    for layer in folded.layers:
        weights = trained.get_layer(layer.name).get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            norm = trained.get_layer(f"{layer.name}_norm")
            gamma, beta, mean, variance = norm.get_weights()
            factor = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * factor, beta - mean * factor]
        layer.set_weights(weights)


def accuracies(model: keras.Model, data: tuple) -> list[float]:
    """Top-1 of each output."""
    x, y = data
    answers = model.predict(x, batch_size=500, verbose=0)
    return [float(np.mean(a.argmax(-1) == y)) for a in (answers if isinstance(answers, list) else [answers])]


def multiplications(model: keras.Model) -> int:
    """Of one image, in convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def export(model: keras.Model, names: list[str], out: pathlib.Path) -> None:
    """Writes a SavedModel that takes `image` and answers `names`. (Saving a tf.Module around a Keras 3 model writes variables that only Python
    restores.)"""
    shutil.rmtree(out, ignore_errors=True)
    archive = keras.export.ExportArchive()
    archive.track(model)

    def serve(image):
        answers = model(image, training=False)
        return dict(zip(names, answers if isinstance(answers, (list, tuple)) else [answers]))

    archive.add_endpoint("serving_default", serve, input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32, name="image")])
    archive.write_out(str(out), verbose=False)
