"""What REST clients and test generators expect of every path: JSON errors, 404, 405 with Allow, 400 for what is not JSON, any content type."""
import http.client
import json
import subprocess

import pytest

GET = ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/echo", "/v2/models/echo/versions/1", "/v2/models/echo/ready",
       "/v2/models/echo/config", "/v2/models/echo/versions/1/config", "/v2/models/echo/stats", "/v2/models/stats", "/metrics",
       "/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/r/status", "/v2/cudasharedmemory/status", "/v2/verge/tenants", "/v2/verge/status", "/"]
POST = ["/v2/models/echo/infer", "/v2/models/echo/versions/1/infer", "/v2/repository/index", "/v2/repository/models/echo/load",
        "/v2/repository/models/echo/unload", "/v2/systemsharedmemory/unregister", "/v2/systemsharedmemory/region/r/register",
        "/v2/systemsharedmemory/region/r/unregister", "/v2/cudasharedmemory/unregister"]
BOTH = ["/v2/logging", "/v2/trace/setting", "/v2/models/echo/trace/setting"]
UNKNOWN = ["/v1", "/v3/models/echo", "/v2/", "/v2x", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/echo/what",
           "/v2/models/echo/infer/more", "/v2/models/echo/versions", "/v2/models/echo/versions//infer", "/v2/models/echo/trace",
           "/v2/repository", "/v2/repository/", "/v2/repository/models/echo", "/v2/repository/models//load", "/v2/repository/models/echo/reload",
           "/v2/systemsharedmemory", "/v2/systemsharedmemory/register", "/v2/systemsharedmemory/region//status", "/v2/trace", "/v2/trace/", "/v2/logging/x",
           "/v2/verge", "/v2/verge/x", "/v2/verge/tenants/default", "/v2/verge/tenants//bounds"]
PUT = ["/v2/verge/tenants/default/bounds"]
VALID = {"inputs": [{"name": "X", "shape": [1], "datatype": "INT32", "data": [1]}]}


@pytest.fixture(scope="module")
def ask(echo_server):
    connection = http.client.HTTPConnection(echo_server.address, timeout=20)

    def send(method, path, body=None, **headers):
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    yield send
    connection.close()


@pytest.mark.parametrize("path", [p for p in UNKNOWN if p != "/v2/"])
def test_unknown_paths(ask, path):
    for method in ("GET", "POST", "PUT"):
        status, headers, body = ask(method, path, b"{}" if method != "GET" else None)
        assert status == 404 and headers["Content-Type"] == "application/json" and isinstance(json.loads(body)["error"], str)


@pytest.mark.parametrize("path", GET + POST + BOTH + PUT)
def test_methods(ask, path):
    allowed = {"GET", "HEAD"} if path in GET else {"POST"} if path in POST else {"GET", "HEAD", "PUT"} if path in PUT else {"GET", "HEAD", "POST"}
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "QUERY"):
        status, headers, body = ask(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None)
        assert (status == 405) == (method not in allowed), (method, status)
        if status == 405:
            assert {m.strip() for m in headers["Allow"].split(",")} == allowed
            assert method == "HEAD" or isinstance(json.loads(body)["error"], str)


@pytest.mark.parametrize("body", [b"", b"x", b"\xff\xfe", b"[]", b"1", b"null", b"{", b'{"inputs":1}', b'{"inputs":[1]}', b"{}" * 2, b"\0", b"[" * 100_000])
def test_what_is_no_request(ask, body):
    status, headers, answer = ask("POST", "/v2/models/echo/infer", body)
    assert status == 400 and headers["Content-Type"] == "application/json" and isinstance(json.loads(answer)["error"], str)


@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8", "text/plain", "application/octet-stream",
                                          "application/x-www-form-urlencoded", "nonsense"])
def test_any_content_type(ask, content_type):
    headers = {"Content_Type": content_type} if content_type else {}
    assert ask("POST", "/v2/models/echo/infer", json.dumps(VALID), **headers)[0] == 200


def test_versions_and_queries(ask):
    assert ask("POST", "/v2/models/echo/versions/1/infer?x=1", json.dumps(VALID))[0] == 200
    assert ask("GET", "/v2/models/echo?verbose")[0] == 200
    assert ask("GET", "/v2/models/ec%68o/config")[0] == 200
    assert ask("GET", "/v2/models/echo/versions/9")[0] == 404
    assert ask("GET", "/v2/models/stats/ready")[0] == 404  # a model of that name
    for version in ("x", "-1", "0", "1.5", "99999999999999999999"):
        assert ask("GET", f"/v2/models/echo/versions/{version}/config")[0] == 400


@pytest.mark.parametrize("path, status", [("/v2/models/echo/config", 200), ("/nothing", 404), ("/v2/models/echo/infer", 405)])
def test_http2_does_the_same(echo_server, path, status):
    out = subprocess.run(["curl", "-sSi", "--http2-prior-knowledge", f"http://{echo_server.address}{path}"], capture_output=True, text=True, check=True)
    head, body = out.stdout.split("\n\n", 1)
    assert f"HTTP/2 {status}" in head and "content-type: application/json" in head and ("error" in json.loads(body)) == (status != 200)
    assert ("allow: POST" in head) == (status == 405)
