"""The page of `verge serve` in a real browser: live figures, the form, a phone's width, and nothing but the server's own answers."""
import http.client
import json
import shutil
import threading

import pytest

from tests.conftest import Server
from tests.integration.browser import Browser

SHAPE = [1, 32, 32, 3]


@pytest.fixture(scope="module")
def server(resnet8):
    with Server(resnet8.parent / "resnet8") as running:
        yield running


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    if not shutil.which("chromium"):
        pytest.skip("skipped: no chromium")
    one = Browser(tmp_path_factory.mktemp("browser"))
    one.open(f"http://{server.address}/")
    yield one
    one.close()


@pytest.fixture
def load(server):
    """Requests one after the other until the test is over."""
    stop = threading.Event()
    body = json.dumps({"inputs": [{"name": "image", "shape": SHAPE, "datatype": "UINT8", "data": [7] * 3072}]})

    def ask():
        connection = http.client.HTTPConnection(server.address, timeout=30)
        while not stop.is_set():
            connection.request("POST", "/v2/models/resnet8/infer", body)
            connection.getresponse().read()
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_figures_are_live(browser, load):
    browser.wait("document.getElementById('ready').textContent === 'ready'")
    first = browser.wait("Number(document.getElementById('total')?.textContent) > 0 && document.getElementById('total').textContent")
    browser.wait(f"Number(document.getElementById('total').textContent) > {first}")
    assert float(browser.wait("Number(document.getElementById('rate').textContent) > 0 && document.getElementById('rate').textContent")) > 0
    assert browser.wait("/^[0-9.]+ (µs|ms|s)$/.test(document.getElementById('p50').textContent) && document.getElementById('p50').textContent")
    table = browser.run("document.getElementById('models').innerText")
    assert "openvino-ir-int8" in table and "resident" in table
    assert browser.run("document.getElementById('curve').points.length") >= 2


def send(browser, setting=""):
    browser.run(f"document.getElementById('answer').textContent = ''; {setting}; document.getElementById('form').dispatchEvent(new Event('input')); "
                "document.getElementById('send').click()")
    return browser.wait("document.getElementById('answer').textContent")


def test_the_form_is_answered(browser):
    browser.wait("document.getElementById('model').value === 'resnet8' && !document.getElementById('send').disabled")
    assert browser.run("getComputedStyle(document.getElementById('preview')).display") != "none"
    answer = send(browser, "document.getElementById('pattern').value = 'noise'; document.getElementById('pattern').dispatchEvent(new Event('change'))")
    assert "Answered by" in answer and "largest #" in answer, answer
    assert "openvino" in browser.run("document.getElementById('chosen').innerText") or "-" in browser.run("document.getElementById('chosen').innerText")


def test_bounds_that_cannot_be_met_are_told(browser):
    answer = send(browser, "document.getElementById('accuracy').value = 100")
    assert answer.startswith("Refused: ") and "accuracy" in answer, answer
    assert browser.run("document.getElementById('accuracy-shown').textContent") == "1.00"
    send(browser, "document.getElementById('accuracy').value = 0")


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_no_width_overflows(browser, width, tmp_path):
    browser.resize(width, 800)
    for scheme in ("light", "dark"):
        browser.colours(scheme)
        assert browser.run("document.documentElement.scrollWidth") <= width
        colours = browser.run("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        assert colours == (["rgb(27, 31, 36)", "rgb(246, 247, 249)"] if scheme == "light" else ["rgb(230, 233, 237)", "rgb(20, 23, 27)"])


def test_a_server_that_ends_is_told_and_texts_stay_texts(browser):
    """Last but one: what a hostile server says is shown as text."""
    browser.run("""showTrace(JSON.stringify({candidates: [{variant: "<img src=x onerror=alert(1)>", accuracy: 0.5, passed_over: "<script>1</scr" + "ipt>"}]}))""")
    assert browser.run("document.querySelectorAll('#candidates img, #candidates script').length") == 0
    assert "<img src=x onerror=alert(1)>" in browser.run("document.getElementById('candidates').textContent")


def test_nothing_was_asked_of_others_and_nothing_failed(browser, server):
    refused = "status of 400"  # the bound that could not be met; browsers log every such answer
    assert [line for line in browser.console if refused not in line] == []
    own = f"http://{server.address}/"
    assert browser.requests and all(url.startswith((own, "data:")) for url in browser.requests), browser.requests
