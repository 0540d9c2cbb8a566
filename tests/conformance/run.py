#!/usr/bin/env python3
"""Runs the cases of cases.yaml against `verge serve`; see there.

usage: run.py [--build build] [--zoo .cache/conformance-zoo] [--examples FOLDER] [--spec FILE] [--only TEXT]
"""
import argparse
import importlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import threading
import traceback

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
SECONDS_A_CASE = 60
CONFIG = HERE / "server.yaml"  # what the clients' features need


class Server:
    def __init__(self, build, zoo, log):
        self.process = subprocess.Popen([build / "verge", "serve", zoo, "--config", CONFIG, "--listen", "127.0.0.1:0", "--log-level", "warning",
                                         "--state-dir", build / "conformance-state"], stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"verge serve did not start: exit code {self.process.wait(10)}; see {log.name}")
        self.address = json.loads(line)["address"]
        self.pid = self.process.pid

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)


def zoo_of(models, args):
    """A folder with links to these models of the zoo."""
    zoo = args.build / "conformance" / "zoo"
    shutil.rmtree(zoo, ignore_errors=True)
    zoo.mkdir(parents=True)
    for name in models:
        if not (args.zoo / name).is_dir():
            sys.exit(f"{args.zoo} has no {name}")
        (zoo / name).symlink_to(args.zoo.resolve() / name)
    return zoo


def picture(args):
    """A mostly red one."""
    path = args.build / "conformance" / "picture.png"
    if not path.exists():
        from PIL import Image

        grey = Image.linear_gradient("L")
        Image.merge("RGB", [grey, grey.point(lambda v: v // 3), grey.point(lambda v: v // 9)]).save(path)
    return path


def call(function, server):
    """Runs one case with a time limit; returns what went wrong, or None."""
    outcome = []

    def run():
        try:
            function(server)
            outcome.append(None)
        except BaseException as error:  # a case fails by whatever it raises
            where = traceback.extract_tb(error.__traceback__)[-1]
            outcome.append(f"{type(error).__name__}: {str(error)[:300]} ({pathlib.Path(where.filename).name}:{where.lineno})")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS_A_CASE)
    return outcome[0] if outcome else f"no end after {SECONDS_A_CASE} s"


def run_program(command, cwd=None):
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=SECONDS_A_CASE * 3, cwd=cwd)
    except subprocess.TimeoutExpired:
        return "no end in time"
    if done.returncode == 0:
        return None
    lines = [l for l in (done.stdout + done.stderr).splitlines() if l.strip()]
    return f"exit code {done.returncode}: " + " | ".join(lines[-12:])[-1500:]


def outcome_of(case, server, args):
    """(ran, what went wrong)."""
    if case.get("expect") == "skip":
        return False, None
    if "case" in case:
        module, function = case["case"].split(".")
        if case.get("isolated"):
            return True, run_program([sys.executable, __file__, "--case", case["case"], "--address", server.address])
        try:
            return True, call(getattr(importlib.import_module("clients." + module), function), server)
        except ImportError as error:
            return True, f"the client cannot be imported: {error}"
    if "schemathesis" in case:
        return True, run_program([pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", args.spec,
                                  "--url", f"http://{server.address}"], cwd=args.build)
    if "program" in case:
        return bool(shutil.which(case["program"])), None
    script, *arguments = shlex.split(case["example"])
    path = args.examples / script
    if not path.exists():
        return True, f"{path} does not exist"
    arguments = [picture(args) if a == "PICTURE" else a for a in arguments]
    return True, run_program([sys.executable, path, "-u", server.address, *arguments])


def run_case(case, server, args, log):
    """As outcome_of, on a server of its own where the case names its models."""
    if "models" not in case or case.get("expect") == "skip":
        return outcome_of(case, server, args)
    own = Server(args.build, zoo_of(case["models"], args), log)
    try:
        ran, wrong = outcome_of(case, own, args)
    finally:
        code = own.stop()
    return ran, wrong or (f"its server ended with {code}" if code else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--zoo", type=pathlib.Path, default=ROOT / ".cache" / "conformance-zoo")
    parser.add_argument("--examples", type=pathlib.Path)
    parser.add_argument("--spec", type=pathlib.Path, default=HERE / "open_inference_rest.yaml")
    parser.add_argument("--only", default="", help="cases whose client, feature or name holds this text")
    parser.add_argument("--case", help="runs this one in this process, against the server at --address")
    parser.add_argument("--address")
    args = parser.parse_args()
    if args.case:
        module, function = args.case.split(".")
        wrong = call(getattr(importlib.import_module("clients." + module), function), argparse.Namespace(address=args.address))
        print(wrong or "pass")
        os._exit(1 if wrong else 0)
    args.build, args.spec = args.build.resolve(), args.spec.resolve()
    listed = yaml.safe_load((HERE / "cases.yaml").read_text())
    cases = list(listed["cases"])
    if args.examples:
        cases += [{"client": "example", "feature": c["example"], **c} for c in listed["examples"]]
    cases = [c for c in cases if args.only in f"{c['client']} {c['feature']} {c.get('case', '')}"]
    counts = {"pass": 0, "expected failure": 0, "skipped": 0, "FAIL": 0, "PASSES UNEXPECTEDLY": 0}
    (args.build / "conformance").mkdir(exist_ok=True)
    os.environ["no_proxy"] = "127.0.0.1,localhost"
    with open(args.build / "conformance" / "server.log", "w") as log:
        server = Server(args.build, args.zoo, log)
        try:
            for case in cases:
                ran, wrong = run_case(case, server, args, log)
                expected = case.get("expect", "pass")
                if not ran:
                    result, note = "skipped", case.get("reason", "")
                elif expected == "fail":
                    result, note = ("expected failure", case["reason"]) if wrong else ("PASSES UNEXPECTEDLY", "remove its 'expect' from cases.yaml")
                else:
                    result, note = ("FAIL", wrong) if wrong else ("pass", "")
                counts[result] += 1
                print(f"{result:<19} {case['client']:<27} {case['feature']}" + (f"\n{'':20}{note}" if note else ""), flush=True)
                if server.process.poll() is not None:
                    sys.exit(f"the server has ended: exit code {server.process.returncode}")
        finally:
            code = server.stop()
    print(", ".join(f"{n} {name}" for name, n in counts.items() if n) + f"; the server ended with {code}")
    return 1 if counts["FAIL"] or counts["PASSES UNEXPECTEDLY"] or code else 0


if __name__ == "__main__":
    sys.exit(main())
