#!/usr/bin/env python3
"""Trains a network with four exits on Fashion-MNIST and writes it as one TensorFlow SavedModel.

    .venv/toolchain/bin/python examples/fashion-exits/train.py [--out examples/fashion-exits/saved_model]

It takes `image`, FP32 [n,28,28,1] in 0..1, and answers `exit1` to `exit4`, FP32 [n,10] each: probabilities after two convolutions, after a
residual block of 16 filters, after two of 32, and after two of 64. The first 5,000 training images are kept out of the training (model.yaml
calibrates with them).
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import fashion_training as training
import keras

EXITS = ["exit1", "exit2", "exit3", "exit4"]
LOSS_WEIGHTS = [0.1, 0.15, 0.25, 0.5]


def network(folded: bool, widen=(1, 1, 1, 1)) -> keras.Model:
    """`widen` multiplies the filters of each exit's stage (long.py)."""
    layers = keras.layers
    blocks = training.Blocks(folded)
    filters = [base * factor for base, factor in zip((8, 16, 32, 64), widen)]

    def answer(x, name, pool):
        if pool:
            x = layers.AveragePooling2D(pool, name=f"{name}_pool")(x)
        x = layers.Flatten(name=f"{name}_flatten")(x)
        return layers.Dense(10, activation="softmax", name=name)(x)

    image = keras.Input((28, 28, 1), name="image")
    x = blocks.conv(image, filters[0], "stem", 2)
    x = blocks.conv(x, filters[0], "stem_b")
    exit1 = answer(x, "exit1", 7)
    x = blocks.residual(x, filters[1], "second", project=True)
    exit2 = answer(x, "exit2", 7)
    x = blocks.residual(x, filters[2], "third_a", 2, project=True)
    x = blocks.residual(x, filters[2], "third_b")
    exit3 = answer(x, "exit3", 3)
    x = blocks.residual(x, filters[3], "fourth_a", project=True)
    x = blocks.residual(x, filters[3], "fourth_b")
    exit4 = answer(blocks.dropout(x, 0.3), "exit4", None)
    return keras.Model(image, [exit1, exit2, exit3, exit4])


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=training.DATA)
    parser.add_argument("--out", type=pathlib.Path, default=here / "saved_model")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--require", type=float, default=0.91, help="least top-1 of the last exit on the test images (exit code 1 below it)")
    args = parser.parse_args()

    keras.utils.set_random_seed(training.SEED)
    data = training.load(args.data)
    trained = network(folded=False)
    training.fit(trained, data, args.epochs, LOSS_WEIGHTS)
    model = network(folded=True)
    training.fold(trained, model)

    print(f"{model.count_params()} parameters, {training.multiplications(model) / 1e6:.2f} M multiplications an image")
    for part in ("held_out", "test"):
        print(f"top-1, {part}: " + ", ".join(f"{n} {a:.4f}" for n, a in zip(EXITS, training.accuracies(model, data[part]))))
    training.export(model, EXITS, args.out)
    return 0 if training.accuracies(model, data["test"])[-1] >= args.require else 1


if __name__ == "__main__":
    sys.exit(main())
