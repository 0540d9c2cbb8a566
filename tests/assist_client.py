"""A client of extended_inference.ExtendedInferenceService, whose messages are put together here."""
import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto


def _message(parent, name, *fields):
    message = parent.add(name=name)
    for field_name, number, kind, *rest in fields:
        field = message.field.add(name=field_name, number=number, type=kind if isinstance(kind, int) else _Field.TYPE_MESSAGE,
                                  label=_Field.LABEL_REPEATED if "repeated" in rest else _Field.LABEL_OPTIONAL)
        if not isinstance(kind, int):
            field.type_name = kind
    return message


def _messages():
    tensors = descriptor_pb2.FileDescriptorProto(name="test_tensor.proto", package="tensorflow", syntax="proto3")
    shape = _message(tensors.message_type, "TensorShapeProto", ("dim", 2, ".tensorflow.TensorShapeProto.Dim", "repeated"),
                     ("unknown_rank", 3, _Field.TYPE_BOOL))
    _message(shape.nested_type, "Dim", ("size", 1, _Field.TYPE_INT64), ("name", 2, _Field.TYPE_STRING))
    _message(tensors.message_type, "TensorProto", ("dtype", 1, _Field.TYPE_INT32), ("tensor_shape", 2, ".tensorflow.TensorShapeProto"),
             ("tensor_content", 4, _Field.TYPE_BYTES), ("float_val", 5, _Field.TYPE_FLOAT, "repeated"),
             ("double_val", 6, _Field.TYPE_DOUBLE, "repeated"), ("int_val", 7, _Field.TYPE_INT32, "repeated"),
             ("string_val", 8, _Field.TYPE_BYTES, "repeated"), ("int64_val", 10, _Field.TYPE_INT64, "repeated"))
    service = descriptor_pb2.FileDescriptorProto(name="test_assist.proto", package="extended_inference", syntax="proto3",
                                                 dependency=["test_tensor.proto"])
    for name, map_name in (("ExtendedInferenceRequest", "input"), ("ExtendedInferenceResponse", "output")):
        entry = f"{map_name.capitalize()}Entry"
        message = _message(service.message_type, name, ("id", 1, _Field.TYPE_INT32),
                           (map_name, 2, f".extended_inference.{name}.{entry}", "repeated"))
        nested = _message(message.nested_type, entry, ("key", 1, _Field.TYPE_STRING), ("value", 2, ".tensorflow.TensorProto"))
        nested.options.map_entry = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(tensors)
    pool.Add(service)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"extended_inference.{name}"))
            for name in ("ExtendedInferenceRequest", "ExtendedInferenceResponse")]


Request, Response = _messages()
FLOAT, INT16, UINT8 = 1, 5, 4
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 9: np.int64, 10: np.bool_}


def request(number, values, dtype=INT16, content=False, key="array"):
    message = Request(id=number)
    tensor = message.input[key]
    tensor.dtype = dtype
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    if content:
        tensor.tensor_content = values.astype(DTYPES[dtype]).tobytes()
    elif dtype == FLOAT:
        tensor.float_val.extend(values.reshape(-1).tolist())
    else:
        tensor.int_val.extend(values.astype(int).reshape(-1).tolist())
    return message


def array_of(tensor):
    return np.frombuffer(tensor.tensor_content, DTYPES[tensor.dtype]).reshape([d.size for d in tensor.tensor_shape.dim])


def predict(channel):
    """The stream-stream callable."""
    return channel.stream_stream("/extended_inference.ExtendedInferenceService/predict", request_serializer=Request.SerializeToString,
                                 response_deserializer=Response.FromString)
