#!/usr/bin/env python3
"""Trains the example network on Fashion-MNIST and writes it as a TensorFlow SavedModel.

    .venv/toolchain/bin/python examples/fashion-mnist/train.py [--out examples/fashion-mnist/saved_model]

The data is that of the Debian package dataset-fashion-mnist. The first 500 training images are kept out of the training: model.yaml calibrates
int8 variants with them. The network takes `image`, FP32 [n,28,28,1] in 0..1 (dividing by 255 is a transform in model.yaml, not a part of the
network), and answers `probabilities`, FP32 [n,10].
"""

import argparse
import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf
from fashion_training import read_idx

SEED = 20240611
CALIBRATION_IMAGES = 500


def build_network() -> keras.Model:
    layers = keras.layers

    def block(x, filters, stride):
        x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        return layers.ReLU()(x)

    image = keras.Input((28, 28, 1), name="image")
    x = block(image, 16, 1)
    x = block(x, 24, 2)
    x = block(x, 24, 1)
    x = block(x, 32, 2)
    x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3)(x)
    probabilities = layers.Dense(10, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities)


def export(model: keras.Model, out: pathlib.Path) -> None:
    """Writes a SavedModel whose signature names are ours. (Saving a tf.Module around a Keras 3 model writes variables that only Python restores.)"""
    shutil.rmtree(out, ignore_errors=True)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {"probabilities": model(image, training=False)},
        input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32, name="image")],
    )
    archive.write_out(str(out), verbose=False)


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=pathlib.Path, default=here / "saved_model")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--require", type=float, default=0.90, help="least top-1 on the test images (exit code 1 below it)")
    args = parser.parse_args()

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()

    images = {p: read_idx(args.data / f"{p}-images-idx3-ubyte.gz")[..., None].astype(np.float32) / 255 for p in ("train", "t10k")}
    labels = {p: read_idx(args.data / f"{p}-labels-idx1-ubyte.gz").astype(np.int32) for p in ("train", "t10k")}
    train_x, train_y = images["train"][CALIBRATION_IMAGES:], labels["train"][CALIBRATION_IMAGES:]

    batch = 128
    model = build_network()
    steps = args.epochs * (len(train_x) // batch)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    flip = tf.data.Dataset.from_tensor_slices((train_x, train_y)).shuffle(len(train_x), seed=SEED).batch(batch, drop_remainder=True)
    flip = flip.map(lambda x, y: (tf.image.random_flip_left_right(x, seed=SEED), y), num_parallel_calls=1).prefetch(2)
    model.fit(flip, epochs=args.epochs, shuffle=False, verbose=2)

    top1 = float(np.mean(model.predict(images["t10k"], batch_size=500, verbose=0).argmax(-1) == labels["t10k"]))
    print(f"top-1 on the {len(labels['t10k'])} test images: {top1:.4f}; {model.count_params()} parameters")

    export(model, args.out)
    return 0 if top1 >= args.require else 1


if __name__ == "__main__":
    sys.exit(main())
