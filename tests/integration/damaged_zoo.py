"""Makes a zoo of damaged packages out of one good package: each case is (name, what was done, whether the server must refuse the model)."""

import hashlib
import json
import os
import pathlib
import random
import shutil


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def folder_digest(files):
    lines = "".join(f"{f['path']}\t{f['size']}\t{f['sha256']}\n" for f in sorted(files, key=lambda f: f["path"]))
    return sha256(lines.encode())


class DamagedZoo:
    def __init__(self, good_version, zoo, seed=7):
        self.good = pathlib.Path(good_version)
        self.zoo = pathlib.Path(zoo)
        self.manifest = json.loads((self.good / "manifest.json").read_text())
        self.random = random.Random(seed)
        self.names = []

    def _copy(self, name, variant=None):
        """A copy of the good package under a new name, with one variant if asked, without profiles, so that it must be measured."""
        folder = self.zoo / name / "1"
        shutil.copytree(self.good, folder, ignore=shutil.ignore_patterns("profiles", "report.html", "logs"))
        manifest = json.loads(json.dumps(self.manifest))
        manifest["name"] = name
        manifest["version"] = 1
        if variant:
            manifest["variants"] = [v for v in manifest["variants"] if v["id"] == variant]
            keep = set(manifest["variants"][0]["artifacts"])
            for artifact in manifest["artifacts"]:
                if artifact["id"] not in keep:
                    shutil.rmtree(folder / "artifacts" / artifact["id"], ignore_errors=True)
            manifest["artifacts"] = [a for a in manifest["artifacts"] if a["id"] in keep]
        self.names.append(name)
        return folder, manifest

    def manifest_bytes(self, name, change):
        """The manifest's text changed by a function of bytes."""
        folder, manifest = self._copy(name)
        (folder / "manifest.json").write_bytes(change(json.dumps(manifest).encode()))

    def manifest_field(self, name, change):
        folder, manifest = self._copy(name)
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def after_build(self, name, variant, change):
        """A file of the artifact changed after the build: the manifest's digests no longer fit."""
        folder, manifest = self._copy(name, variant)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        change(folder / "artifacts" / manifest["artifacts"][0]["id"])

    def model_file(self, name, variant, pick, change):
        """A model file that is broken from the start: digests fit, so only a worker that loads it can find out."""
        folder, manifest = self._copy(name, variant)
        artifact = manifest["artifacts"][0]
        old = folder / "artifacts" / artifact["id"]
        entry = next(f for f in artifact["files"] if pick(f["path"]))
        path = old / entry["path"]
        path.write_bytes(change(path.read_bytes()))
        for f in artifact["files"]:
            data = (old / f["path"]).read_bytes()
            f["size"], f["sha256"] = len(data), sha256(data)
        artifact["id"] = folder_digest(artifact["files"])
        os.rename(old, folder / "artifacts" / artifact["id"])
        manifest["variants"][0]["artifacts"] = [artifact["id"]]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def truncate(self, data):
        return data[: self.random.randrange(len(data))]

    def flip(self, data, count=8):
        data = bytearray(data)
        for _ in range(count):
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        return bytes(data)

    def garbage(self, data):
        return self.random.randbytes(len(data))


def damage(good_version, zoo):
    """At least 200 damaged packages; returns their names."""
    z = DamagedZoo(good_version, zoo)
    variants = {v["engine"]: v["id"] for v in z.manifest["variants"] if v.get("conversion") == "ok"}
    picks = {"onnxruntime": [".onnx"], "litert": [".tflite"], "openvino": [".xml", ".bin"], "tensorflow": ["saved_model.pb"]}
    rounds = {"onnxruntime": 12, "litert": 20, "openvino": 5, "tensorflow": 3}
    for engine, suffixes in picks.items():
        for suffix in suffixes:
            for i in range(rounds[engine]):
                for kind in (z.truncate, z.flip, z.garbage):
                    z.model_file(f"file-{engine}{suffix.replace('.', '-')}-{kind.__name__}-{i}", variants[engine],
                                 lambda p, s=suffix: p.endswith(s), kind)
        z.model_file(f"file-{engine}-empty", variants[engine], lambda p, s=suffixes[0]: p.endswith(s), lambda d: b"")
        z.after_build(f"after-{engine}-missing", variants[engine], lambda d: next(p for p in d.rglob("*") if p.is_file()).unlink())
        z.after_build(f"after-{engine}-extra", variants[engine], lambda d: (d / "extra.bin").write_bytes(b"x"))
        z.after_build(f"after-{engine}-oversized", variants[engine],
                      lambda d: os.truncate(next(p for p in d.rglob("*") if p.is_file()), 10 << 30))
        z.after_build(f"after-{engine}-changed", variants[engine],
                      lambda d: _rewrite(next(p for p in d.rglob("*") if p.is_file() and p.stat().st_size), z.flip))
        z.after_build(f"after-{engine}-link", variants[engine], lambda d: _link(next(p for p in d.rglob("*") if p.is_file())))
    for i in range(20):
        z.manifest_bytes(f"manifest-truncate-{i}", z.truncate)
    for i in range(10):
        z.manifest_bytes(f"manifest-garbage-{i}", z.garbage)
    z.manifest_bytes("manifest-empty", lambda d: b"")
    z.manifest_bytes("manifest-deep", lambda d: b"[" * 1_000_000)
    z.manifest_bytes("manifest-oversized", lambda d: b" " * (32 << 20) + d)
    for i, path in enumerate(["../../../etc/passwd", "/etc/passwd", "a/../../x", "..", "a\\..\\b", "x\0y", "", "a//b", "./a"]):
        z.manifest_field(f"climb-file-{i}", lambda m, p=path: m["artifacts"][0]["files"][0].update(path=p))
        z.manifest_field(f"climb-entry-{i}", lambda m, p=path: m["artifacts"][0].update(entry=p or "?"))
        z.manifest_field(f"climb-id-{i}", lambda m, p=path: m["artifacts"][0].update(id=p))
    z.manifest_field("claim-size", lambda m: m["artifacts"][0]["files"][0].update(size=10 << 30))
    z.manifest_field("claim-shape", lambda m: m["network"]["inputs"][0].update(shape=[1 << 40] * 4))
    z.manifest_field("claim-rank", lambda m: m["network"]["inputs"][0].update(shape=[1] * 99))
    z.manifest_field("claim-variants", lambda m: m.update(variants=m["variants"] * 5000))
    z.manifest_field("wrong-engine", lambda m: [v.update(engine="../../evil") for v in m["variants"]])
    z.manifest_field("unknown-engine", lambda m: [v.update(engine="nosuch") for v in m["variants"]])
    z.manifest_field("wrong-step", lambda m: m["inputs"][0].update(steps=[{"op": "system", "params": {"command": "true"}}]))
    z.manifest_field("wrong-shape", lambda m: m["inputs"][0].update(shape=[-1, 3, 3, 3]))
    z.manifest_field("future-format", lambda m: m.update(format=999))
    return z.names


def _rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def _link(path):
    path.unlink()
    path.symlink_to("/etc/hostname")
