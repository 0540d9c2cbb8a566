"""Our reader and writer of ModelInfer against protobuf's: random messages, and damaged ones, sent over grpcio as bytes."""
import json
import random

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

FIELDS = {
    "BOOL": ("bool_contents", np.bool_), "INT8": ("int_contents", np.int8), "INT16": ("int_contents", np.int16),
    "INT32": ("int_contents", np.int32), "INT64": ("int64_contents", np.int64), "UINT8": ("uint_contents", np.uint8),
    "UINT16": ("uint_contents", np.uint16), "UINT32": ("uint_contents", np.uint32), "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32), "FP64": ("fp64_contents", np.float64), "BYTES": ("bytes_contents", None),
}


def wire_bytes(strings):
    return b"".join(len(s).to_bytes(4, "little") + s for s in strings)


def random_message(r):
    """A valid request and, by output name, the bytes it must be answered with."""
    message, expected = pb.ModelInferRequest(model_name="echo", id=r.choice(["", "x", "äß"])), {}
    raw = r.random() < 0.5
    for i in range(r.randint(1, 4)):
        dtype = r.choice(list(FIELDS))
        shape = [r.randint(0, 4) for _ in range(r.randint(0, 3))]
        n = int(np.prod(shape, dtype=int))
        tensor = message.inputs.add(name=f"in{i}", datatype=dtype, shape=shape)
        field, numpy_type = FIELDS[dtype]
        if numpy_type is None:
            values = [r.randbytes(r.randint(0, 9)) for _ in range(n)]
            data = wire_bytes(values)
        else:
            bytes_ = r.randbytes(n * np.dtype(numpy_type).itemsize)
            array = np.frombuffer(bytes_, dtype=np.uint8) % 2 == 1 if dtype == "BOOL" else np.frombuffer(bytes_, dtype=numpy_type)
            if dtype in ("FP32", "FP64"):
                array = np.nan_to_num(array)
            values, data = array.tolist(), array.tobytes()
        if raw:
            message.raw_input_contents.append(data)
        else:
            getattr(tensor.contents, field).extend(values)
        expected[tensor.name] = (dtype, shape, data)
    for _ in range(r.randint(0, 3)):
        parameter = message.parameters[r.choice("abc")]
        r.choice([lambda: setattr(parameter, "int64_param", -3), lambda: setattr(parameter, "double_param", 1.5),
                  lambda: setattr(parameter, "bool_param", True), lambda: setattr(parameter, "string_param", "ö"),
                  lambda: setattr(parameter, "uint64_param", 2**63)])()
    if r.random() < 0.5:
        parameters = message.parameters
        parameters["priority"].uint64_param = r.randint(0, 9)
        parameters["timeout"].int64_param = r.randint(10**7, 10**9)
        parameters["sequence_start"].bool_param = r.random() < 0.5
        if r.random() < 0.5:
            parameters["sequence_id"].string_param = r.choice(["", "s", "ö" * 60])
        else:
            parameters["sequence_id"].int64_param = r.randint(0, 2**63 - 1)
    return message, expected


@pytest.fixture(scope="module")
def call(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", request_serializer=bytes, response_deserializer=bytes)


def test_random_messages(call):
    r = random.Random(5)
    for _ in range(500):
        message, expected = random_message(r)
        answer = pb.ModelInferResponse.FromString(call(message.SerializeToString()))
        assert answer.id == message.id and answer.model_name == "echo" and len(answer.outputs) == len(expected)
        for tensor, data in zip(answer.outputs, answer.raw_output_contents):
            assert (tensor.datatype, list(tensor.shape), data) == expected[tensor.name]


def value_of(parameter):
    which = parameter.WhichOneof("parameter_choice")
    return (which or "")[:-len("_param")], getattr(parameter, which) if which else None


def test_parameters_as_protobuf_reads_them(call):
    """Random parameters, merged from pieces as protobuf may: what arrives is what protobuf reads, or a refusal of what makes no sense."""
    r = random.Random(7)
    choices = [("bool_param", lambda: r.random() < 0.5), ("int64_param", lambda: r.choice([0, 1, -1, 7, 2**62, -2**63])),
               ("uint64_param", lambda: r.choice([0, 3, 2**64 - 1])), ("double_param", lambda: r.choice([0.25, 1.0, -0.0, 2.5, float("nan")])),
               ("string_param", lambda: r.choice(["", "abc", "ü" * 64, "x" * 129]))]
    names = ["priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "verge.variant", "verge.min_accuracy", "other"]
    natural = {"priority", "timeout"}
    accepted = refused = 0
    for _ in range(900):
        pieces, sensible = [], True
        for name in r.sample(names, r.randint(1, 4)):
            piece = pb.ModelInferRequest()
            field, value = r.choice(choices)
            setattr(piece.parameters[name], field, value())
            pieces.append(piece.SerializeToString())
        data = pb.ModelInferRequest(model_name="bounds").SerializeToString() + b"".join(pieces)
        parameters = pb.ModelInferRequest.FromString(data).parameters
        wanted = {"priority": 0, "timeout": 0, "sequence_id": 0, "sequence_start": False, "sequence_end": False, "verge.variant": "",
                  "verge.min_accuracy": -1}
        for name, parameter in parameters.items():
            kind, value = value_of(parameter)
            number = kind in ("int64", "uint64") and value >= 0
            sensible &= (number if name in natural else number or kind == "string" and len(value.encode()) <= 128 if name == "sequence_id"
                         else kind == "string" if name == "verge.variant" else kind in ("int64", "uint64", "double") and 0 <= value <= 1
                         if name == "verge.min_accuracy" else kind == "bool" if name.startswith("sequence_") else True)
            wanted[name] = value
        try:
            answer = pb.ModelInferResponse.FromString(call(data))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "parameter '" in error.details() and not sensible, parameters
            refused += 1
            continue
        assert sensible, parameters
        accepted += 1
        got = json.loads(answer.raw_output_contents[0][4:])
        text = isinstance(wanted["sequence_id"], str)
        assert got["sequence_text" if text else "sequence_id"] == wanted["sequence_id"]
        assert all(got[n] == wanted[n] for n in ("priority", "sequence_start", "sequence_end"))
        assert got["variant"] == wanted["verge.variant"] and got["min_accuracy"] == wanted["verge.min_accuracy"]
        century = 100 * 365 * 86400 * 10**6
        assert got["timeout_us"] == (min(wanted["timeout"], century) or None)
    assert accepted > 100 and refused > 100


def test_damaged_messages_are_refused_when_protobuf_refuses_them(call):
    r = random.Random(6)
    refused = 0
    for _ in range(1500):
        data = bytearray(random_message(r)[0].SerializeToString())
        for _ in range(r.randint(1, 3)):
            at = r.randrange(len(data))
            kind = r.randrange(3)
            if kind == 0:
                data[at] = r.randrange(256)
            elif kind == 1:
                del data[at:at + r.randint(1, 4)]
            else:
                data[at:at] = r.randbytes(r.randint(1, 3))
            if not data:
                break
        try:
            pb.ModelInferRequest.FromString(bytes(data))
            well_formed = True
        except DecodeError:
            well_formed = False
        try:
            call(bytes(data))
            assert well_formed, data.hex()
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), (error, data.hex())
            says_malformed = "well-formed" in error.details() or "UTF-8" in error.details()
            assert not (says_malformed and well_formed), (error.details(), data.hex())
            refused += not well_formed
    assert refused > 100
