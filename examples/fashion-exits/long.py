#!/usr/bin/env python3
"""Makes the long form of the network: the same answers, stages of milliseconds.

    .venv/toolchain/bin/python examples/fashion-exits/long.py [--out examples/fashion-exits/long/saved_model]

Every channel of the trained network is repeated, and what reads it weighs each copy accordingly less, so that the wide network computes the same
function (and has the same accuracies) with some 70 times the work. Deadlines of milliseconds then mean something on any machine, and nothing has to be
trained again.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import fashion_training as training
import keras
import numpy as np
import tensorflow as tf
from train import EXITS, network

# How often the channels of each exit's stage are repeated: stage times then grow from exit to exit.
WIDEN = (24, 11, 10, 7)
TOLERANCE = 1e-4
_STAGES = {"stem": 0, "exit1": 0, "second": 1, "exit2": 1, "third": 2, "exit3": 2, "fourth": 3, "exit4": 3}


def repetitions(layer: keras.layers.Layer) -> tuple[int, int]:
    """How often the channels that a layer reads and writes are repeated."""
    stage = next(s for prefix, s in _STAGES.items() if layer.name.startswith(prefix))
    if layer.name in EXITS:
        return WIDEN[stage], 1
    if layer.name == "stem":
        return 1, WIDEN[stage]
    first = layer.name.endswith(("_skip", "second_a", "third_a_a", "fourth_a_a"))  # these read the stage before
    return WIDEN[stage - 1 if first else stage], WIDEN[stage]


def widened(layer: keras.layers.Layer, channels: int) -> list[np.ndarray]:
    """The layer's weights for repeated channels; `channels` is how many it reads."""
    kernel, bias = layer.get_weights()
    read, written = repetitions(layer)
    if isinstance(layer, keras.layers.Dense):  # its input is a flattened image, channels last
        kernel = np.tile(kernel.reshape(-1, channels, kernel.shape[-1]), (1, read, written)) / read
        return [kernel.reshape(-1, kernel.shape[-1]), np.tile(bias, written)]
    return [np.tile(kernel, (1, 1, read, written)) / read, np.tile(bias, written)]


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=here / "saved_model")
    parser.add_argument("--data", type=pathlib.Path, default=training.DATA)
    parser.add_argument("--out", type=pathlib.Path, default=here / "long" / "saved_model")
    args = parser.parse_args()

    small = network(folded=True)
    small.set_weights([v.numpy() for v in tf.saved_model.load(str(args.model)).variables])
    wide = network(folded=True, widen=WIDEN)
    for layer in small.layers:
        if layer.weights:
            source = layer.input
            while isinstance(source._keras_history.operation, (keras.layers.Flatten, keras.layers.AveragePooling2D)):
                source = source._keras_history.operation.input
            wide.get_layer(layer.name).set_weights(widened(layer, source.shape[-1]))

    images = training.read_idx(args.data / "t10k-images-idx3-ubyte.gz")[:64, ..., None].astype(np.float32) / 255
    difference = max(float(np.abs(a - b).max()) for a, b in zip(small.predict(images, verbose=0), wide.predict(images, verbose=0)))
    print(
        f"{wide.count_params()} parameters, {training.multiplications(wide) / 1e6:.0f} M multiplications an image "
        f"({training.multiplications(wide) / training.multiplications(small):.0f} times those of the small form); answers differ by {difference:.1e} at most"
    )
    training.export(wide, EXITS, args.out)
    return 0 if difference <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
