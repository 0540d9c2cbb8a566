"""Samples as npy files: one a network input, the samples along axis 0. Read by mapping, written in pieces, so that memory stays bounded."""

from __future__ import annotations

import math
import os

import numpy as np

from verge_toolchain.errors import CommandError
from verge_toolchain.signature import NUMPY, Signature, Tensor

_MAX_HEADER = 1 << 16
# Bytes of input given to a network at once: enough to keep it busy, little enough for its intermediate results to fit.
_CHUNK_BYTES = 4 << 20
_MAX_CHUNK = 128


class Samples:
    """Samples of all inputs of a network."""

    def __init__(self, files: dict[str, str], signature: Signature, what: str):
        self.signature = signature
        self.arrays: dict[str, np.ndarray] = {}
        for t in signature.inputs:
            if t.name not in files:
                raise CommandError(f"samples.{what}: no file for the input '{t.name}'")
            self.arrays[t.name] = _open(files[t.name], t, what)
        counts = {a.shape[0] for a in self.arrays.values()}
        if len(counts) != 1 or counts == {0}:
            raise CommandError(f"samples.{what}: the inputs hold different numbers of samples, or none")
        self.count = counts.pop()

    def batch(self, first: int, size: int) -> dict[str, np.ndarray]:
        """`size` samples from `first` on, in the form the network takes; past the end it begins again."""
        index = np.arange(first, first + size) % self.count
        return {t.name: _as_input(np.asarray(self.arrays[t.name][index]), t) for t in self.signature.inputs}

    def chunk(self) -> int:
        """How many samples to give at once."""
        if not self.signature.batched():
            return 1
        sample = sum(a.dtype.itemsize * math.prod(a.shape[1:]) for a in self.arrays.values())
        return max(1, min(_MAX_CHUNK, _CHUNK_BYTES // max(1, sample)))


def _open(path: str, tensor: Tensor, what: str) -> np.ndarray:
    where = f"samples.{what}: input '{tensor.name}'"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=_MAX_HEADER)
    except (OSError, ValueError, EOFError) as e:
        raise CommandError(f"{where}: cannot read '{path}': {e}") from e
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise CommandError(f"{where}: '{path}' is not an array of samples")
    expected = NUMPY[tensor.dtype]
    if tensor.dtype == "BYTES":
        if array.dtype.kind not in "SU":
            raise CommandError(f"{where}: '{path}' holds {array.dtype}, expected strings")
    elif array.dtype != expected and not (tensor.dtype == "BF16" and array.dtype.itemsize == 2):
        raise CommandError(f"{where}: '{path}' holds {array.dtype}, expected {expected}")
    want = tensor.sample_shape()
    got = list(array.shape[1:])
    if len(want) != len(got) or any(w not in (-1, g) for w, g in zip(want, got)):
        raise CommandError(f"{where}: a sample in '{path}' has the shape {got}, expected {want}")
    return array


def _as_input(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.dtype == "BYTES":
        array = array.astype("S") if array.dtype.kind == "S" else np.char.encode(array, "utf-8")
        array = array.astype(object)
    elif tensor.dtype == "BF16":
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    if not tensor.batched():
        if array.shape[0] != 1:
            raise CommandError(f"input '{tensor.name}' has no batch axis, so samples are given one by one")
        return array[0]
    return np.moveaxis(array, 0, tensor.batch_axis) if tensor.batch_axis else np.ascontiguousarray(array)


class Writer:
    """One output of all samples, written to an npy file as the answers come."""

    def __init__(self, path: str, tensor: Tensor, count: int):
        self._path, self._tensor, self._count, self._filled = path, tensor, count, 0
        self._array = None
        self._strings: list[np.ndarray] = []

    def append(self, answer: np.ndarray, samples: int) -> None:
        answer = np.asarray(answer)
        if self._tensor.batched():
            answer = np.moveaxis(answer, self._tensor.batch_axis, 0)[:samples]
            if answer.shape[0] != samples:
                raise ValueError(f"output '{self._tensor.name}' holds {answer.shape[0]} answers for {samples} samples")
        else:
            answer = answer[None]
        if answer.dtype.kind in "OSU":
            self._strings.append(np.array([_bytes(v) for v in answer.ravel()], dtype="S").reshape(answer.shape))
        else:
            if answer.dtype.name == "bfloat16":
                answer = answer.view("V2")
            if self._array is None:
                self._array = np.lib.format.open_memmap(self._path, "w+", answer.dtype, (self._count, *answer.shape[1:]))
            self._array[self._filled : self._filled + len(answer)] = answer
        self._filled += len(answer)

    def close(self) -> str:
        if self._filled != self._count:
            raise ValueError(f"output '{self._tensor.name}': {self._filled} answers for {self._count} samples")
        if self._strings:
            np.save(self._path, np.concatenate(self._strings))
        elif self._array is not None:
            self._array.flush()
        self._array = None
        return self._path


def _bytes(value) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def run_all(run, samples: Samples, folder: str, prefix: str, progress=None) -> dict[str, str]:
    """Feeds every sample to `run` and writes its outputs to `folder`/`prefix`_INDEX.npy. Returns output name -> path."""
    os.makedirs(folder, exist_ok=True)
    signature = samples.signature
    writers = [Writer(os.path.join(folder, f"{prefix}_{i}.npy"), t, samples.count) for i, t in enumerate(signature.outputs)]
    size = signature.fixed_batch or min(samples.chunk(), samples.count)
    for first in range(0, samples.count, size):
        used = min(size, samples.count - first)
        answer = run(samples.batch(first, size if signature.fixed_batch else used))
        for t, w in zip(signature.outputs, writers):
            w.append(answer[t.name], used)
        if progress:
            progress(first + used, samples.count)
    return {t.name: w.close() for t, w in zip(signature.outputs, writers)}
