"""/v2/verge/tenants: bounds of tenants, told and replaced over HTTP/1.1 and HTTP/2; who may do that."""
import http.client
import json
import subprocess

import pytest


@pytest.fixture
def ask(echo_server_with):
    server = echo_server_with("--tenant", "gold", "--tenant", "gr\u00fcn")

    def send(method, path, body=None):
        connection = http.client.HTTPConnection(server.address, timeout=20)
        connection.request(method, path, body if body is None or isinstance(body, (bytes, str)) else json.dumps(body))
        answer = connection.getresponse()
        out = answer.status, json.loads(answer.read() or "null")
        connection.close()
        return out

    send.address = server.address
    return send


GOLD = "/v2/verge/tenants/gold/bounds"
ALL = {"deadline_ms": 20.5, "min_accuracy": 0.9, "max_energy_mj": 5.0, "objective": "latency", "rule": "predictive", "confidence": 0.5,
       "max_accuracy_loss": 0.005, "exit": "exit2", "conditions": "exit1: elapsed > 2"}


def test_put_replaces_the_whole(ask):
    assert ask("GET", GOLD) == (200, {})
    assert ask("PUT", GOLD, ALL) == (200, ALL)
    assert ask("GET", GOLD) == (200, ALL)
    assert ask("PUT", GOLD, {"min_accuracy": 0.5}) == (200, {"min_accuracy": 0.5})
    assert ask("GET", "/v2/verge/tenants") == (200, {"default": {"bounds": {}}, "gold": {"bounds": {"min_accuracy": 0.5}}, "gr\u00fcn": {"bounds": {}}})
    assert ask("PUT", GOLD, {}) == (200, {})
    assert ask("PUT", "/v2/verge/tenants/gr%c3%bcn/bounds", {"exit": "a"}) == (200, {"exit": "a"})


@pytest.mark.parametrize("body, error", [
    ({"min_accuracy": "high"}, "tenant 'gold': 'min_accuracy' is 'high', expected a number from 0 to 1"),
    ({"min_acuracy": 1}, "unknown field 'min_acuracy'; did you mean 'min_accuracy'?"), ({"trace": True}, "unknown field 'trace'"),
    ({"rule": "smart"}, "there is no rule 'smart'"), ({"deadline_ms": None}, "'deadline_ms' is not a number"), ([], "an object of bounds is expected"),
    ("{", "the request"), (b"", "the request"), (b"\xff", "the request"), (" " * 17_000, "the request")], ids=lambda v: str(v)[:40])
def test_what_is_wrong_changes_nothing(ask, body, error):
    assert ask("PUT", GOLD, ALL)[0] == 200
    status, answer = ask("PUT", GOLD, body)
    assert status == 400 and error in answer["error"]
    assert ask("GET", GOLD) == (200, ALL)


def test_paths_and_methods(ask):
    for path in ("/v2/verge/tenants/none/bounds", "/v2/verge/tenants/gold", "/v2/verge/tenants//bounds", "/v2/verge/tenants/gold/bounds/x", "/v2/verge", "/v2/verge/x",
                 "/v2/verge/tenants/%ff/bounds"):
        assert ask("PUT", path, {})[0] in (400, 404) and ask("GET", path)[0] in (400, 404), path
    assert ask("POST", GOLD, {})[0] == 405 and ask("DELETE", GOLD)[0] == 405 and ask("PUT", "/v2/verge/tenants", {})[0] == 405


def test_http2_does_the_same(ask):
    out = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-X", "PUT", "-d", '{"rule": "p"}', f"http://{ask.address}{GOLD}"], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == {"rule": "p"}


def test_management_alone_may(echo_server_with):
    server = echo_server_with("--tenant", "gold", "--listen", "127.0.0.1:0,inference", "--listen", "127.0.0.1:0,management")
    for listener, status in zip(server.listeners, (403, 200)):
        for method in ("GET", "PUT"):
            connection = http.client.HTTPConnection(listener, timeout=20)
            connection.request(method, GOLD, "{}" if method == "PUT" else None)
            assert connection.getresponse().status == status
            connection.close()
