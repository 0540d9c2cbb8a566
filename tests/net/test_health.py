"""gRPC health checking with its published client: Check, and Watch that tells of every change."""
import queue
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ["", "inference.GRPCInferenceService", "extended_inference.ExtendedInferenceService"]


@pytest.mark.parametrize("name", NAMES)
def test_check_and_watch(echo_server, name):
    with grpc.insecure_channel(echo_server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        assert next(watch).status == SERVING
        watch.cancel()


def test_unknown_services(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.Check(health_pb2.HealthCheckRequest(service="nothing"))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nothing"))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_watch_ends_with_the_server(echo_server_with):
    server = echo_server_with()
    seen = queue.Queue()
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())

        def read():
            try:
                for answer in watch:
                    seen.put(answer.status)
            except grpc.RpcError as e:
                seen.put(e.code())

        reader = threading.Thread(target=read)
        reader.start()
        assert seen.get(timeout=10) == SERVING
        assert server.stop() == 0
        assert seen.get(timeout=10) == grpc.StatusCode.UNAVAILABLE
        reader.join()
