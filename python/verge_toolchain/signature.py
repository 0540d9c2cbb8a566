"""A network's inputs and outputs, as the manifest describes them."""

from __future__ import annotations

import dataclasses

import numpy as np

from verge_toolchain.errors import Refused

MAX_RANK = 8

# Open Inference name -> NumPy type of its samples on disk. BF16 lies in npy files as two-byte voids, BYTES as fixed-width 'S'.
NUMPY = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype("V2"),
    "BYTES": np.dtype("S"),
}

_FROM_NUMPY = {v: k for k, v in NUMPY.items() if k not in ("BF16", "BYTES")}


def dtype_from_numpy(dtype, what: str) -> str:
    """The Open Inference name of a NumPy (or ml_dtypes) type."""
    dtype = np.dtype(dtype)
    if dtype.name == "bfloat16":
        return "BF16"
    if dtype.kind in "OSU":
        return "BYTES"
    name = _FROM_NUMPY.get(dtype)
    if name is None:
        raise Refused(f"{what} has the data type {dtype.name}, which the Open Inference Protocol does not carry; cast it inside the network")
    return name


@dataclasses.dataclass
class Tensor:
    name: str
    dtype: str
    shape: list[int]  # -1: free
    batch_axis: int = -1
    quantization: list[dict] = dataclasses.field(default_factory=list)

    def json(self) -> dict:
        return dataclasses.asdict(self)

    def batched(self) -> bool:
        return self.batch_axis >= 0

    def sample_shape(self) -> list[int]:
        """Dimensions of one sample, the batch axis left out."""
        return [d for i, d in enumerate(self.shape) if i != self.batch_axis]


@dataclasses.dataclass
class Signature:
    inputs: list[Tensor]
    outputs: list[Tensor]
    # Batch size that the source's file is bound to; 0: any.
    fixed_batch: int = 0

    def json(self) -> dict:
        return {"inputs": [t.json() for t in self.inputs], "outputs": [t.json() for t in self.outputs]}

    @staticmethod
    def from_json(value: dict, fixed_batch: int = 0) -> "Signature":
        return Signature([Tensor(**t) for t in value["inputs"]], [Tensor(**t) for t in value["outputs"]], fixed_batch)

    def batched(self) -> bool:
        return all(t.batched() for t in self.inputs)


def make_signature(inputs: list[Tensor], outputs: list[Tensor]) -> Signature:
    """Checks ranks and names, and finds the batch axis."""
    for side, tensors in (("input", inputs), ("output", outputs)):
        if not tensors:
            raise Refused(f"the network has no {side}s, so there is nothing to serve")
        names = [t.name for t in tensors]
        if len(set(names)) != len(names):
            raise Refused(f"two {side}s of the network share a name ({', '.join(names)}); export it with distinct names")
        for t in tensors:
            if len(t.shape) > MAX_RANK:
                raise Refused(f"{side} '{t.name}' has {len(t.shape)} dimensions; at most {MAX_RANK} are supported, so reshape it inside the network")
    return _find_batch(Signature(inputs, outputs))


def with_batch(signature: Signature, said: str | None) -> Signature:
    """The signature with the batch where model.yaml says it is: "first" or "none"; None leaves it where it was found."""
    if said is None:
        return signature
    for t in signature.inputs + signature.outputs:
        if t.batched():
            t.shape[t.batch_axis], t.batch_axis = signature.fixed_batch or -1, -1
    signature.fixed_batch = 0
    return signature if said == "none" else _find_batch(signature, said=True)


def _find_batch(signature: Signature, said: bool = False) -> Signature:
    """A free first dimension of inputs and outputs alike is the batch. Where all tensors have the same fixed first dimension and it is 1, the file
    was exported for single samples: that dimension is the batch too, and the file is bound to it. Another size is the batch only where that is `said`:
    a network of one window of 9 readings, or of an image whose 3 planes come first, looks no different from one that was exported for a batch."""
    inputs, outputs = signature.inputs, signature.outputs
    everything = inputs + outputs
    sizes = {t.shape[0] if t.shape else 0 for t in everything}
    size = sizes.pop() if len(sizes) == 1 else 0
    if size >= 1 and (said or (size == 1 and any(len(t.shape) > 1 for t in inputs))):
        signature.fixed_batch = size
        for t in everything:
            t.batch_axis, t.shape[0] = 0, -1
    elif any(t.shape[:1] == [-1] for t in inputs) and any(t.shape[:1] == [-1] for t in outputs):
        for t in everything:
            if t.shape[:1] == [-1]:
                t.batch_axis = 0
    elif said:
        shapes = ", ".join(f"{t.name} {t.shape}" for t in everything)
        raise Refused(f"model.yaml says that the first dimension is the batch (batch: first), but it is not the same everywhere: {shapes}")
    return signature
