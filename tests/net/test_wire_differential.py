"""Our reader and writer of ModelInfer against protobuf's: random messages, and damaged ones, sent over grpcio as bytes."""
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
