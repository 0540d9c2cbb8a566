"""What a network can be brought as. One module a kind; each has

inspect(path, signature, work, report) -> Inspected     in a child process; raises Refused
reference(inspected) -> Runner                          the engine whose answers every variant is compared with
"""

from __future__ import annotations

import dataclasses
import importlib

from verge_toolchain.signature import Signature

# kind -> (module, family: what the converters are registered for, packages worth importing once, before the first fork)
_KINDS = {
    "saved_model": ("saved_model", "tensorflow", ("tensorflow",)),
    "keras": ("keras_model", "tensorflow", ("tensorflow", "keras")),
    "h5": ("keras_model", "tensorflow", ("tensorflow", "keras")),
    "onnx": ("onnx_model", "onnx", ()),
    "tflite": ("tflite_model", "tflite", ()),
    "openvino-ir": ("openvino_ir", "openvino-ir", ()),
}


@dataclasses.dataclass
class Inspected:
    kind: str
    path: str
    work: str
    signature_name: str
    signature: Signature
    has_loop: bool
    reference: str  # engine and version
    notes: list[str] = dataclasses.field(default_factory=list)
    network: str = ""  # TensorFlow kinds: the SavedModel all conversions start from
    precision: str = "f32"  # of the source's own weights: "f32", "f16", "dynamic" or "int8"

    @property
    def family(self) -> str:
        return _KINDS[self.kind][1]

    @property
    def quantized(self) -> bool:
        """Whether the source has integer weights already."""
        return self.precision in ("int8", "dynamic")

    def event(self) -> dict:
        return {
            "event": "inspected",
            "kind": self.kind,
            "signature_name": self.signature_name,
            "signature": self.signature.json(),
            "has_loop": self.has_loop,
            "fixed_batch": self.signature.fixed_batch,
            "precision": self.precision,
            "reference": self.reference,
            "notes": self.notes,
        }

    def json(self) -> dict:
        value = dataclasses.asdict(self)
        value["signature"] = {**self.signature.json(), "fixed_batch": self.signature.fixed_batch}
        return value

    @staticmethod
    def from_json(value: dict) -> "Inspected":
        s = value["signature"]
        return Inspected(**{**value, "signature": Signature.from_json(s, s["fixed_batch"])})


def module(kind: str):
    return importlib.import_module(f"verge_toolchain.sources.{_KINDS[kind][0]}")


def preload(kind: str) -> None:
    """Imports, in this process, what all children of this kind need."""
    for name in _KINDS[kind][2]:
        importlib.import_module(name)
