#!/usr/bin/env python3
"""Trains one small network on Fashion-MNIST in three widths, each a TensorFlow SavedModel and a model of the family `fashion`.

    .venv/toolchain/bin/python examples/fashion-family/train.py [--only narrow]

Each takes `image`, FP32 [n,28,28,1] in 0..1, and answers `probabilities`, FP32 [n,10]. The first 5,000 training images are kept out of the training.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import fashion_training as training
import keras

FILTERS = {"narrow": 6, "medium": 12, "wide": 24}


def network(folded: bool, filters: int) -> keras.Model:
    layers = keras.layers
    blocks = training.Blocks(folded)
    image = keras.Input((28, 28, 1), name="image")
    x = blocks.conv(image, filters, "first")
    x = blocks.conv(x, filters, "second", 2)
    x = blocks.conv(x, 2 * filters, "third")
    x = blocks.conv(x, 2 * filters, "fourth", 2)
    x = layers.AveragePooling2D(3, name="pool")(x)
    x = blocks.dropout(layers.Flatten(name="flatten")(x), 0.1)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x))


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=training.DATA)
    parser.add_argument("--out", type=pathlib.Path, default=here, help="folder that holds narrow, medium and wide")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--only", choices=FILTERS, help="one of the three")
    args = parser.parse_args()

    data = training.load(args.data)
    found = []
    for name, filters in FILTERS.items():
        if args.only and name != args.only:
            continue
        keras.utils.set_random_seed(training.SEED)
        trained = network(False, filters)
        training.fit(trained, data, args.epochs)
        model = network(True, filters)
        training.fold(trained, model)
        [held_out], [test] = (training.accuracies(model, data[part]) for part in ("held_out", "test"))
        print(
            f"{name}: {model.count_params()} parameters, {training.multiplications(model) / 1e6:.2f} M multiplications an image; "
            f"top-1, held_out: {held_out:.4f}, test: {test:.4f}"
        )
        training.export(model, ["probabilities"], args.out / name / "saved_model")
        found.append(test)
    return 0 if all(b - a >= 0.01 for a, b in zip(found, found[1:])) else 1


if __name__ == "__main__":
    sys.exit(main())
