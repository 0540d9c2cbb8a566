"""Our reader of the ASSIST-IoT service's tensors against protobuf's: random tensors in every form, put together from pieces, and damaged ones."""
import random

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError

from tests.assist_client import DTYPES, Request, Response, array_of

PATH = "/extended_inference.ExtendedInferenceService/predict"
WIDTH = 16  # of model echo's input, FP32 [-1, 16]
FIELDS = {1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 9: "int64_val"}
RANGES = {3: (-2**31, 2**31 - 1), 4: (0, 255), 5: (-2**15, 2**15 - 1), 9: (-2**63, 2**63 - 1)}


def random_values(r, dtype, n):
    if dtype in RANGES:
        low, high = RANGES[dtype]
        return [r.choice([0, 1, -1, low, high, r.randint(low, high), r.randint(-300, 300)]) for _ in range(n)] if low < 0 else [r.randint(low, high) for _ in range(n)]
    return [float(np.float32(r.choice([0.0, -0.0, 1.5, r.uniform(-1e6, 1e6)]))) for _ in range(n)]


def unpacked(number, values):
    """int_val as a client of the first protobufs writes it: one field a value."""
    def varint(v):
        v &= 2**64 - 1
        out = bytearray()
        while v >= 128:
            out.append(v & 127 | 128)
            v >>= 7
        return bytes(out) + bytes([v])

    return b"".join(varint(number << 3) + varint(v) for v in values)


def random_request(r):
    """A request's bytes. Its tensor may be cut into pieces, which protobuf puts together again."""
    dtype = r.choice(list(FIELDS))
    rows = r.randint(1, 4)
    elements = rows * WIDTH
    values = random_values(r, dtype, elements if r.random() < 0.7 else r.randint(1, elements))
    head, pieces = Request(id=r.choice([0, 1, -1, 2**31 - 1])), []
    tensor = head.input["INPUT0"]
    tensor.dtype = dtype
    for size in (rows, WIDTH) if rows > 1 or r.random() < 0.5 else (WIDTH,):
        tensor.tensor_shape.dim.add(size=size)
    if len(values) == elements and r.random() < 0.3:
        tensor.tensor_content = np.array(values).astype(DTYPES[dtype]).tobytes()
    else:
        while values:
            n = r.randint(1, len(values))
            now, values = values[:n], values[n:]
            if FIELDS[dtype] == "int_val" and r.random() < 0.3:
                pieces.append(unpacked(7, now))
                continue
            piece = type(tensor)()
            getattr(piece, FIELDS[dtype]).extend(now)
            pieces.append(piece.SerializeToString())
    value = tensor.SerializeToString() + b"".join(pieces)
    key = b"INPUT0"
    entry = bytes([0x0A, len(key)]) + key + b"\x12" + _length(value) + value
    return Request(id=head.id).SerializeToString() + b"\x12" + _length(entry) + entry


def _length(data):
    n, out = len(data), bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def expected_of(data):
    """The id and the input as TensorFlow reads it from what protobuf read; None where it makes no tensor of this model. Raises DecodeError."""
    message = Request.FromString(data)
    if set(message.input) != {"INPUT0"}:
        return None
    tensor = message.input["INPUT0"]
    shape = [d.size for d in tensor.tensor_shape.dim]
    if tensor.dtype not in FIELDS or tensor.tensor_shape.unknown_rank or not 1 <= len(shape) <= 2 or shape[-1] != WIDTH or not 1 <= shape[0] <= 64:
        return None
    elements = int(np.prod(shape))
    if tensor.tensor_content:
        if len(tensor.tensor_content) != elements * np.dtype(DTYPES[tensor.dtype]).itemsize:
            return None
        values = np.frombuffer(tensor.tensor_content, DTYPES[tensor.dtype]).tolist()
    else:
        values = list(getattr(tensor, FIELDS[tensor.dtype]))
        low, high = RANGES.get(tensor.dtype, (None, None))
        if not 1 <= len(values) <= elements or low is not None and not all(low <= v <= high for v in values):
            return None
        values += [values[-1]] * (elements - len(values))
    with np.errstate(over="ignore"):
        return message.id, np.array(values, DTYPES[tensor.dtype]).astype(np.float32).reshape(shape)


@pytest.fixture(scope="module")
def predict(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        call = channel.stream_stream(PATH, request_serializer=bytes, response_deserializer=Response.FromString)
        yield lambda messages: call(iter(messages), metadata=[("verge-model", "echo")])


def same(answer, expected):
    number, values = expected
    got = array_of(answer.output["prediction"])
    return answer.id == number and got.shape == values.shape and got.tobytes() == values.tobytes()


def test_random_tensors(predict):
    r = random.Random(21)
    messages = [random_request(r) for _ in range(600)]
    expected = [expected_of(m) for m in messages]
    assert all(expected)
    answers = list(predict(messages))
    assert len(answers) == len(messages)
    for message, answer, wanted in zip(messages, answers, expected):
        assert same(answer, wanted), message.hex()


def test_damaged_messages_are_read_as_protobuf_reads_them_or_refused(predict):
    r = random.Random(22)
    refused = accepted = 0
    for _ in range(700):
        data = bytearray(random_request(r))
        for _ in range(r.randint(1, 2)):
            at, kind = r.randrange(len(data)), r.randrange(3)
            if kind == 0:
                data[at] = r.randrange(256)
            elif kind == 1:
                del data[at:at + r.randint(1, 3)]
            else:
                data[at:at] = r.randbytes(r.randint(1, 3))
        try:
            expected, readable = expected_of(bytes(data)), True
        except DecodeError:
            expected, readable = None, False
        try:
            (answer,) = predict([bytes(data)])
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
            assert expected is None, (bytes(data).hex(), error.details())
            refused += 1
            continue
        assert readable, bytes(data).hex()
        if expected is not None:
            assert same(answer, expected), bytes(data).hex()
            accepted += 1
    assert refused > 100 and accepted > 40
