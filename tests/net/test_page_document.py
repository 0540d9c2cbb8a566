"""The page at "/" and its JSON without a browser: headers, who sees what, and that nothing hostile in names gets out of its JSON."""
import base64
import hashlib
import http.client
import json
import re
import subprocess

import pytest


def get(address, path, **headers):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def hash_of(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def test_the_page_stands_alone(echo_server):
    status, headers, body = get(echo_server.address, "/")
    text = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8" and headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'" and policy["connect-src"] == "'self'"
    assert policy["script-src"] == hash_of(re.search("<script>(.*)</script>", text, re.S).group(1))
    assert policy["style-src"] == hash_of(re.search("<style>(.*)</style>", text, re.S).group(1))
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//)""", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\son\w+=|style=", text)


def test_http2_and_compression(echo_server):
    out = subprocess.run(["curl", "-sSi", "--compressed", "--http2-prior-knowledge", f"http://{echo_server.address}/"], capture_output=True, text=True, check=True)
    head, body = out.stdout.split("\n\n", 1)
    assert "HTTP/2 200" in head and "content-encoding: gzip" in head and "content-security-policy: default-src 'none'" in head and body.endswith("</html>\n")


def test_status(echo_server):
    status, headers, body = get(echo_server.address, "/v2/verge/status")
    got = json.loads(body)
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert got["can"] == {"infer": True, "metrics": True, "manage": True} and got["server"]["ready"] is True and got["tenants"] == {"default": {"bounds": {}}}
    assert got["models"][0]["name"] == "echo" and got["models"][0]["inputs"] == [{"name": "INPUT0", "datatype": "FP32", "shape": [-1, 16]}]
    assert got["models"][0]["parameters"]["default_variant"] == "plain"
    assert [m["name"] for m in got["models"]] == ["echo", "threaded"]  # its family is offered beside it
    assert [{"reason": "connections"}, 0.0] in got["metrics"]["verge_net_shed_total"]


def test_listeners_show_what_they_serve(echo_server_with):
    server = echo_server_with("--listen", "127.0.0.1:0,inference", "--listen", "127.0.0.1:0,management")
    shown = [json.loads(get(address, "/v2/verge/status")[2]) for address in server.listeners]
    assert [s["can"] for s in shown] == [{"infer": True, "metrics": False, "manage": False}, {"infer": False, "metrics": True, "manage": True}]
    assert "metrics" not in shown[0] and "tenants" not in shown[0] and "metrics" in shown[1]
    assert all(get(address, "/")[0] == 200 for address in server.listeners)


@pytest.mark.parametrize("path", ["/index.html", "//", "/favicon.ico", "/v2/verge/status/x"])
def test_other_paths_are_none(echo_server, path):
    assert get(echo_server.address, path)[0] == 404
