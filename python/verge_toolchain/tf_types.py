"""TensorFlow's types as Open Inference names. Imports nothing of TensorFlow, so that it costs nothing where there is none."""

from verge_toolchain.errors import Refused

_NAMES = {
    "float32": "FP32",
    "float64": "FP64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "bool": "BOOL",
    "string": "BYTES",
}


def dtype_name(dtype, what: str) -> str:
    name = _NAMES.get(dtype.name)
    if name is None:
        raise Refused(f"{what} has the data type {dtype.name}, which the Open Inference Protocol does not carry; cast it inside the network")
    return name


def shape_list(shape, what: str) -> list[int]:
    if shape.rank is None:
        raise Refused(f"{what} has an unknown number of dimensions; export the network with an input signature that fixes it")
    return [-1 if d is None else int(d) for d in shape.as_list()]
