"""Standard clients and TLS against a server whose reads and writes are short, interrupted, or find nothing, all the time: short_io.c, preloaded."""
import pytest

from conftest import EchoServer, find_echo_server
from test_clients import test_asyncio, test_curl as test_plain_curl, test_grpc, test_several_tensors_mixed, test_stream, test_stream_of_images, test_streams_asyncio  # noqa: F401
from test_tls import authority, certificate, test_curl, test_grpc_and_http_clients, test_plain_http_to_the_tls_port, test_reload_during_traffic, test_sessions_are_resumed, test_versions_and_protocols, tls_server  # noqa: F401


@pytest.fixture(scope="module")
def short_io():
    library = find_echo_server().with_name("net_short_io.so")
    if not library.exists():
        pytest.skip(f"skipped: no {library}; build the target net_short_io")
    return {"LD_PRELOAD": str(library), "SHORT_IO_SEED": "1", "SHORT_IO_EINTR": "1"}


@pytest.fixture(scope="module")
def echo_server(short_io):
    server = EchoServer("--fronts", "2", env=short_io)
    yield server
    assert server.stop() == 0


@pytest.fixture
def echo_server_with(short_io):
    servers = []

    def make(*arguments):
        servers.append(EchoServer(*arguments, env=short_io))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
