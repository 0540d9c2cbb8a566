"""Every step that runs foreign code runs in a forked child: a crash of a converter is an answer, not the end of the process.

Forking after the heavy imports and before any operator has run costs milliseconds, where a fresh interpreter would import TensorFlow again for
seconds. The parent therefore never executes a network.
"""

from __future__ import annotations

import ctypes
import dataclasses
import faulthandler
import json
import os
import random
import resource
import select
import signal
import sys
import time
import traceback

from verge_toolchain.errors import CommandError, LeftOut, Refused, cause

SEED = 1
MAX_MESSAGE = 16 << 20
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass
class Outcome:
    status: str  # "ok", "refused", "left out", "failed"
    value: dict = dataclasses.field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0


def memory_limit(source_bytes: int) -> int:
    """Bytes of private memory a step may map: enough for the libraries and several copies of the network, so that a file which claims more than
    it holds fails instead of filling the machine."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2 << 30, min(installed * 4 // 5, (6 << 30) + 12 * source_bytes))


def tree_bytes(path: str) -> int:
    """Size of a file or of all files in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def run(function, *args, log: str, memory: int, progress=None, time_limit: float = 900.0) -> Outcome:
    """Calls function(*args, report) in a child with its standard output and error in the file `log` and at most `memory` bytes.

    `report(event)` passes an object to `progress` in this process. The function returns an object, or raises.
    """
    start = time.monotonic()
    os.makedirs(os.path.dirname(log), exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    read_fd, write_fd = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _child(function, args, log, write_fd, parent, memory)
    os.close(write_fd)
    outcome, timed_out = _listen(read_fd, progress, start + time_limit)
    os.close(read_fd)
    if timed_out:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - start
    if timed_out:
        outcome = Outcome("failed", reason=f"the converter was stopped after {time_limit:g} s")
    elif outcome is None:
        outcome = Outcome("failed", reason=_ending(status))
    outcome.seconds = round(seconds, 3)
    return outcome


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "unknown"
        why = ", probably for lack of memory" if number == signal.SIGKILL else ""
        return f"the converter crashed with signal {number} ({name}){why}"
    return f"the converter ended with exit code {os.WEXITSTATUS(status)} and no answer"


def _listen(fd: int, progress, deadline: float) -> tuple[Outcome | None, bool]:
    """Reads the child's lines until it closes the pipe. Returns its last word, and whether the deadline passed."""
    buffer = b""
    outcome = None
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return outcome, True
        if not poll.poll(left * 1000):
            continue
        data = os.read(fd, 1 << 16)
        if not data:
            return outcome, False
        buffer += data
        if len(buffer) > MAX_MESSAGE:
            return Outcome("failed", reason="the converter's answer is too long"), True
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "outcome" in message:
                outcome = Outcome(message["outcome"], message["value"], message["reason"])
            elif progress:
                progress(message)


def _child(function, args, log: str, fd: int, parent: int, memory: int) -> None:
    code = 1
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False, errors="backslashreplace")
        sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        faulthandler.enable(2)  # a crash leaves the Python stack in the log
        fd = _move_above_standard(fd)
        os.closerange(3, fd)
        os.closerange(fd + 1, 4096)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        _seed()

        def send(message: dict) -> None:
            data = (json.dumps(message) + "\n").encode()
            while data:
                data = data[os.write(fd, data) :]

        status, value, reason = "ok", {}, ""
        try:
            value = function(*args, send) or {}
        except Refused as e:
            status, reason = "refused", cause(e)
        except LeftOut as e:
            status, reason = "left out", cause(e)
        except CommandError as e:
            status, reason = "error", cause(e)
        except (Exception, SystemExit) as e:
            traceback.print_exc()
            status, reason = "failed", cause(e)
        send({"outcome": status, "value": value, "reason": reason})
        sys.stdout.flush()
        sys.stderr.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)  # no destructors: some libraries crash in theirs after a fork, when all is already said


def _move_above_standard(fd: int) -> int:
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved


def _seed() -> None:
    import numpy as np

    random.seed(SEED)
    np.random.seed(SEED)
    tf = sys.modules.get("tensorflow")
    if tf is not None:
        tf.random.set_seed(SEED)
