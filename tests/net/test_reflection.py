"""Server reflection with its published client, and our descriptors against those that clients were built with."""
import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2, service_pb2

SERVICES = {"inference.GRPCInferenceService", "extended_inference.ExtendedInferenceService", "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.fixture(scope="module")
def database(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        yield ProtoReflectionDescriptorDatabase(channel)


@pytest.fixture(scope="module")
def pool(database):
    return DescriptorPool(database)


def test_services_and_methods(database, pool):
    assert set(database.get_services()) == SERVICES
    methods = {m.name: m for m in pool.FindServiceByName("inference.GRPCInferenceService").methods}
    assert methods["ModelStreamInfer"].client_streaming and methods["ModelStreamInfer"].server_streaming
    assert not methods["ModelInfer"].client_streaming
    predict = pool.FindServiceByName("extended_inference.ExtendedInferenceService").methods_by_name["predict"]
    assert predict.input_type.fields_by_name["input"].message_type.fields_by_name["value"].message_type.full_name == "tensorflow.TensorProto"


def shape_of(message):
    return {f.name: (f.number, f.type, f.is_repeated, f.message_type and f.message_type.full_name, f.enum_type and f.enum_type.full_name,
                     f.containing_oneof and f.containing_oneof.name, f.has_presence) for f in message.fields}


def test_fields_are_those_of_the_clients(pool):
    """Names, numbers and types of every message that is served, and of all that they contain."""
    to_do, done = [], set()
    for service in (service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"], health_pb2.DESCRIPTOR.services_by_name["Health"],
                    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]):
        ours = pool.FindServiceByName(service.full_name)
        for method in ours.methods:
            theirs = service.methods_by_name[method.name]
            assert (method.client_streaming, method.server_streaming) == (theirs.client_streaming, theirs.server_streaming)
            to_do += [(method.input_type, theirs.input_type), (method.output_type, theirs.output_type)]
    while to_do:
        ours, theirs = to_do.pop()
        if ours.full_name in done:
            continue
        done.add(ours.full_name)
        assert ours.full_name == theirs.full_name
        assert shape_of(ours) == shape_of(theirs), ours.full_name
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            if field.message_type:
                to_do.append((field.message_type, other.message_type))
            if field.enum_type:
                assert {v.name: v.number for v in field.enum_type.values} == {v.name: v.number for v in other.enum_type.values}
    assert model_config_pb2.ModelConfig.DESCRIPTOR.full_name in done and len(done) > 60


def ask(echo_server, path, **request):
    with grpc.insecure_channel(echo_server.address) as channel:
        call = channel.stream_stream(path, request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                                     response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
        [answer] = call(iter([reflection_pb2.ServerReflectionRequest(host="h", **request)]))
        assert answer.original_request.host == answer.valid_host == "h"
        return answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_every_request(echo_server, version):
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    assert {s.name for s in ask(echo_server, path, list_services="").list_services_response.service} == SERVICES
    for request in ({"file_by_filename": "inference.proto"}, {"file_containing_symbol": "inference.ModelInferRequest.InferInputTensor"},
                    {"file_containing_symbol": "inference.GRPCInferenceService.ModelInfer"}):
        files = [descriptor_pb2.FileDescriptorProto.FromString(b) for b in ask(echo_server, path, **request).file_descriptor_response.file_descriptor_proto]
        assert [f.name for f in files] == ["inference.proto", "model_config.proto"]
    assert ask(echo_server, path, all_extension_numbers_of_type="inference.ModelConfig").all_extension_numbers_response.base_type_name == "inference.ModelConfig"
    for request in ({"file_by_filename": "other.proto"}, {"file_containing_symbol": "inference.Nothing"}, {"all_extension_numbers_of_type": "x"},
                    {"file_containing_extension": {"containing_type": "inference.ModelConfig", "extension_number": 1}}):
        assert ask(echo_server, path, **request).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_the_reflection_stubs_client(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [reflection_pb2.ServerReflectionRequest(list_services=""), reflection_pb2.ServerReflectionRequest()]
        answers = list(stub.ServerReflectionInfo(iter(requests)))
        assert answers[1].error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
