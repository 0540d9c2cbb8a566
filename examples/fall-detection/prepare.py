#!/usr/bin/env python3
"""Cuts windows of nine samples out of a recording and writes calibration.npz and evaluation.npz beside this file.

    prepare.py test_accel.csv [windows1000.npz]

The CSV has one row a second with two samples (t1_x .. t2_z, raw tag units). With the second file the evaluation windows are those that
it names (array `starts`, in samples), else 1,000 drawn with a fixed seed. No calibration window is also an evaluation window.
"""
import pathlib
import sys

import numpy as np

ROWS, CALIBRATION, EVALUATION = 9, 200, 1000


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    samples = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, dtype=np.float32).reshape(-1, 3)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(samples) - ROWS + 1)
    starts = np.load(sys.argv[2])["starts"] if len(sys.argv) == 3 else np.sort(order[:EVALUATION])
    cut = lambda at: np.stack([samples[s : s + ROWS] for s in at])
    evaluation = cut(starts)
    seen = {w.tobytes() for w in evaluation}
    chosen = [s for s in order if samples[s : s + ROWS].tobytes() not in seen][:CALIBRATION]
    here = pathlib.Path(__file__).parent
    np.savez(here / "evaluation.npz", tags=evaluation)
    np.savez(here / "calibration.npz", tags=cut(chosen))
    print(f"{len(evaluation)} windows for evaluation, {len(chosen)} for calibration")


main()
