"""gRPC's own probes: health and reflection."""
import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from .arrays import A, B

SERVING = health_pb2.HealthCheckResponse.SERVING


def health_check(server):
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == SERVING
        try:
            stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=10)
            raise AssertionError("an unknown service has no health")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND


def health_watch(server):
    with grpc.insecure_channel(server.address) as channel:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
        assert next(iter(stream)).status == SERVING
        stream.cancel()


def reflection(server):
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services, services
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        method = service.FindMethodByName("ModelInfer")
        request = message_factory.GetMessageClass(method.input_type)(model_name="simple")
        for name, array in (("INPUT0", A), ("INPUT1", B)):
            request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
            request.raw_input_contents.append(array.tobytes())
        response = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", request_serializer=lambda m: m.SerializeToString(),
                                   response_deserializer=response.FromString)
        assert np.frombuffer(call(request, timeout=10).raw_output_contents[0], np.int32).tolist() == (A + B).flatten().tolist()
