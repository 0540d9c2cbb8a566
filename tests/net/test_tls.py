"""TLS listeners: real clients, certificates that are refused, handshakes that stall, and certificates that change during traffic."""
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from certificates import Authority

INFER = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]})


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.sign("server")


@pytest.fixture
def tls_server(echo_server_with, certificate):
    """A server with a plain listener, which tells metrics, and one with TLS, whose port is `tls_port`."""
    def make(*arguments):
        server = echo_server_with("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,tls",
                                  "--certificate", str(certificate[0]), "--key", str(certificate[1]), *arguments)
        server.tls_port = int(server.listeners[1].rsplit(":", 1)[1])
        return server
    return make


def client_context(authority, alpn=(), certificate=None):
    context = ssl.create_default_context(cafile=authority.file)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def connect(server, context, session=None):
    raw = socket.create_connection(("127.0.0.1", server.tls_port), timeout=10)
    return context.wrap_socket(raw, server_hostname="localhost", session=session)


def get(stream, path="/v2/health/live"):
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = b""
    while b"}" not in answer:
        piece = stream.recv(65536)
        if not piece:
            break
        answer += piece
    return answer.decode()


def post(stream, body=INFER):
    stream.sendall(f"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    answer = b""
    while not answer.endswith(b"}"):
        piece = stream.recv(65536)
        assert piece, answer
        answer += piece
    return answer


def test_versions_and_protocols(tls_server, authority):
    server = tls_server()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for alpn, spoken in ((("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), ((), None)):
            context = client_context(authority, alpn)
            context.minimum_version = context.maximum_version = version
            with connect(server, context) as stream:
                assert stream.selected_alpn_protocol() == spoken
                assert "GCM" in stream.cipher()[0] or "CHACHA20" in stream.cipher()[0]
                if spoken == "h2":
                    assert stream.recv(9)[3] == 4, "SETTINGS come at once"
                else:
                    assert '{"live":true}' in get(stream)
    with pytest.raises(ssl.SSLError):
        connect(server, client_context(authority, ("spdy/3",)))
    old = client_context(authority)
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(server, old)
    weak = client_context(authority)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA:AES128-GCM-SHA256")  # no forward secrecy
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(server, weak)
    assert server.metric('verge_net_shed_total{reason="handshake_failed"}') >= 2
    assert server.metric("verge_net_handshake_seconds_count") == 8


@pytest.mark.parametrize("elements", [16, 5000, 3_000_000])
def test_grpc_and_http_clients(tls_server, authority, elements):
    server = tls_server()
    array = np.random.default_rng(1).standard_normal((1, elements)).astype(np.float32)
    with triton_grpc.InferenceServerClient(f"localhost:{server.tls_port}", ssl=True, root_certificates=str(authority.file)) as client:
        tensor = triton_grpc.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)
        for model in ("echo", "threaded"):
            assert np.array_equal(client.infer(model, [tensor]).as_numpy("OUTPUT0"), array)
    context = client_context(authority)
    with triton_http.InferenceServerClient(f"localhost:{server.tls_port}", ssl=True, ssl_context_factory=lambda: context) as client:
        tensor = triton_http.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)
        outputs = [triton_http.InferRequestedOutput("OUTPUT0", binary_data=True)]
        assert np.array_equal(client.infer("echo", [tensor], outputs=outputs).as_numpy("OUTPUT0"), array)


@pytest.mark.skipif(not shutil.which("curl"), reason="skipped: no curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(tls_server, authority, version):
    server = tls_server()
    body = "x" * 300_000
    done = subprocess.run(["curl", "-s", version, "--cacert", authority.file, "-w", "%{http_code} %{http_version}", "-d", "@-",
                           f"https://localhost:{server.tls_port}/v2/models/echo/infer"], input=body, capture_output=True, text=True, timeout=20)
    assert done.stdout.endswith("400 1.1" if version == "--http1.1" else "400 2"), done


def test_sessions_are_resumed(tls_server, authority):
    server = tls_server()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_context(authority)
        context.minimum_version = context.maximum_version = version
        with connect(server, context) as stream:
            get(stream)  # TLS 1.3: the ticket comes after the handshake
            session = stream.session
        with connect(server, context, session) as stream:
            assert stream.session_reused
            assert '{"live":true}' in get(stream)


def test_wrong_authority_and_expired_certificate(tls_server, authority, certificate, echo_server_with, tmp_path):
    server = tls_server()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, client_context(Authority(tmp_path, "other")))
    expired = authority.sign("expired", expired=True)
    with pytest.raises(json.JSONDecodeError):  # the server does not start
        echo_server_with("--listen", "127.0.0.1:0,tls", "--certificate", str(expired[0]), "--key", str(expired[1]))


def test_plain_http_to_the_tls_port(tls_server):
    server = tls_server()
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as raw:
        raw.sendall(b"POST /v2/health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        answer = b""
        while piece := raw.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ") and b"speaks TLS" in answer
    head, body = answer.split(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_tls_to_the_plain_port(tls_server, authority):
    server = tls_server()
    host, port = server.address.rsplit(":", 1)
    begun = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as raw, pytest.raises((ssl.SSLError, OSError)):
        client_context(authority).wrap_socket(raw, server_hostname="localhost")
    assert time.monotonic() - begun < 5, "closed at the first byte, not at a timeout"


def test_client_certificates(tls_server, authority, tmp_path):
    client, stranger = authority.sign("client"), Authority(tmp_path, "stranger").sign("client")
    expired = authority.sign("old-client", expired=True)

    def live(server, certificate=None, version=ssl.TLSVersion.TLSv1_3):
        context = client_context(authority, certificate=certificate)
        context.minimum_version = context.maximum_version = version
        try:
            with connect(server, context) as stream:
                return '{"live":true}' in get(stream)
        except (ssl.SSLError, ConnectionError):
            return False

    required = tls_server("--client-ca", str(authority.file))
    optional = tls_server("--client-ca", str(authority.file), "--client-optional")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert [live(required, c, version) for c in (client, None, stranger, expired)] == [True, False, False, False]
        assert [live(optional, c, version) for c in (client, None, stranger, expired)] == [True, True, False, False]
    assert required.metric('verge_net_shed_total{reason="handshake_failed"}') == 6

    root, key, chain = authority.file.read_bytes(), client[1].read_bytes(), client[0].read_bytes()
    for credentials, good in ((grpc.ssl_channel_credentials(root, key, chain), True), (grpc.ssl_channel_credentials(root), False)):
        with grpc.secure_channel(f"localhost:{required.tls_port}", credentials) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            if good:
                assert call(b"", timeout=10) == b"\x08\x01"
            else:
                with pytest.raises(grpc.RpcError):
                    call(b"", timeout=10)


def stall(server, count):
    """So many connections that do not go on; every second one has sent the start of a hello."""
    stalled = [socket.create_connection(("127.0.0.1", server.tls_port), timeout=60) for _ in range(count)]
    for s in stalled[::2]:
        try:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")
        except ConnectionError:
            pass  # it has been closed already
    return stalled


def wait_until_closed(stalled):
    for s in stalled:
        try:
            assert s.recv(1) == b"", "closed by the server"
        except ConnectionResetError:
            pass
        s.close()


def test_stalled_handshakes_make_room(tls_server, authority):
    """Bound: --max-handshakes stalled ones at a time; a good client is served meanwhile."""
    server = tls_server("--handshake-timeout", "600", "--max-handshakes", "20")
    stalled = stall(server, 50)
    with connect(server, client_context(authority)) as stream:
        assert '{"live":true}' in get(stream)
    # The good one was the fifty-first: the oldest of twenty left for it.
    assert server.metric('verge_net_shed_total{reason="handshakes"}') == 31
    assert server.metric('verge_net_shed_total{reason="handshake_timeout"}') == 0
    wait_until_closed(stalled[:31])
    for s in stalled[31:]:
        s.close()


def test_stalled_handshakes_time_out(tls_server, authority):
    """Bound: --handshake-timeout."""
    server = tls_server("--handshake-timeout", "1", "--max-handshakes", "100")
    wait_until_closed(stall(server, 50))
    assert server.metric('verge_net_shed_total{reason="handshakes"}') == 0
    assert server.metric('verge_net_shed_total{reason="handshake_timeout"}') == 50


def test_reload_during_traffic(tls_server, authority, certificate, tmp_path):
    """New certificates, and bad ones, while clients are busy and others come: no error at any of them."""
    cert, key = tmp_path / "s.pem", tmp_path / "s.key"

    def install(pair):
        shutil.copy(pair[0], cert)
        shutil.copy(pair[1], key)

    install(certificate)
    server = tls_server("--certificate", str(cert), "--key", str(key), "--fronts", "2")
    second = authority.sign("second", common_name="second")
    context = client_context(authority)
    stop, failures, answered, changed = threading.Event(), [], [0] * 4, threading.Condition()

    def busy(i):
        try:
            while not stop.is_set():
                with connect(server, context) as stream:
                    for _ in range(3 if i % 2 else 1_000_000):
                        assert post(stream).startswith(b"HTTP/1.1 200"), "an answer"
                        with changed:
                            answered[i] += 1
                            changed.notify_all()
                        if stop.is_set():
                            break
        except Exception as error:  # noqa: BLE001: any is a failure
            with changed:
                failures.append(error)
                changed.notify_all()

    threads = [threading.Thread(target=busy, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        for i in range(20):
            install(second if i % 2 else certificate)
            with changed:
                before = list(answered)
            assert server.reload() == ""
            with changed:  # each of them goes on
                assert changed.wait_for(lambda: failures or all(a > b for a, b in zip(answered, before)), 60)
        subject = lambda: dict(x[0] for x in connect(server, context).getpeercert()["subject"])["commonName"]
        assert subject() == "second"
        key.write_text("no key")
        assert str(key) in server.reload()
        shutil.copy(certificate[1], key)
        assert "is not that of the certificate" in server.reload()
        cert.unlink()
        assert str(cert) in server.reload()
        assert subject() == "second", "a bad one changes nothing"
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures
