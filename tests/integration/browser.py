"""A headless Chromium, driven over its DevTools protocol by two pipes: no port, no driver program, no library."""
import json
import os
import select
import shutil
import subprocess
import time

DEADLINE = 60


class Browser:
    """One page. What it logs, asks for and fails at is kept in `console`, `requests` and `errors`."""

    def __init__(self, folder, width=1200, height=900):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not program:
            raise FileNotFoundError("chromium")
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()

        def place():  # the protocol's descriptors are 3 and 4
            os.dup2(theirs_read, 100)
            os.dup2(theirs_write, 101)
            os.dup2(100, 3)
            os.dup2(101, 4)

        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", f"--window-size={width},{height}", "--no-first-run",
                 "--disable-gpu", "--disable-extensions", "--disable-component-update", "--disable-background-networking", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self.process = subprocess.Popen([program, *flags, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        preexec_fn=place, close_fds=False)
        os.close(theirs_read)
        os.close(theirs_write)
        self.read_fd, self.write_fd = ours_read, ours_write
        self.buffer, self.last_id, self.answers = b"", 0, {}
        self.console, self.requests, self.errors, self.loaded = [], [], [], 0
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = None
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self, timeout):
        """Reads what is there; handles whole messages."""
        if select.select([self.read_fd], [], [], timeout)[0]:
            got = os.read(self.read_fd, 1 << 20)
            if not got:
                raise EOFError("the browser has ended")
            self.buffer += got
        *messages, self.buffer = self.buffer.split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
                continue
            method, params = message["method"], message["params"]
            if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                self.console.append(str([a.get("value", a.get("description")) for a in params["args"]]))
            elif method == "Runtime.exceptionThrown":
                self.console.append(json.dumps(params["exceptionDetails"])[:2000])
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.console.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
            elif method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif method == "Page.loadEventFired":
                self.loaded += 1

    def call(self, method, **params):
        self.last_id += 1
        mine = self.last_id
        message = {"id": mine, "method": method, "params": params}
        if getattr(self, "session", None):
            message["sessionId"] = self.session
        os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + DEADLINE
        while mine not in self.answers:
            if time.monotonic() > end:
                raise TimeoutError(method)
            self.receive(1)
        answer = self.answers.pop(mine)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url):
        before = self.loaded
        self.call("Page.navigate", url=url)
        end = time.monotonic() + DEADLINE
        while self.loaded == before:
            if time.monotonic() > end:
                raise TimeoutError(url)
            self.receive(1)

    def run(self, expression):
        """The value of a JavaScript expression; of a promise, what it comes to."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(json.dumps(got["exceptionDetails"])[:2000])
        return got["result"].get("value")

    def wait(self, condition, seconds=30):
        """Waits until a JavaScript expression is true; what changes the page wakes it. Returns its value."""
        return self.run(f"""new Promise((good, bad) => {{
            const look = () => {{ const v = ({condition}); if (v) {{ watch.disconnect(); clearTimeout(late); good(v); }} }};
            const watch = new MutationObserver(look);
            const late = setTimeout(() => {{ watch.disconnect(); bad(new Error("never true: " + {json.dumps(condition)} + "\\n" + document.body.innerText)); }}, {seconds * 1000});
            watch.observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
            look();
        }})""")

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=True)

    def colours(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path):
        import base64
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.read_fd)
        os.close(self.write_fd)
