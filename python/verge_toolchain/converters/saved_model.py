"""The network as TensorFlow itself runs it: the native baseline."""

import os
import shutil

from verge_toolchain.converters import Artifact, Job
from verge_toolchain.graph import frozen


def convert(job: Job) -> Artifact:
    import tensorflow as tf

    job.only("f32")
    folder = job.folder()
    origin = job.source.path if job.source.kind == "saved_model" else job.source.network
    converter, notes = "source file", []
    if job.source.kind != "saved_model":
        import keras

        converter = f"keras {keras.__version__}"
    if job.form == "unrolled":
        job.step("unrolling")
        origin = frozen.saved_model(job.source, "unrolled", 0)
        converter = f"tensorflow {tf.__version__}, unrolled"
    shutil.copytree(origin, folder, dirs_exist_ok=True, ignore=_only_what_serving_reads)
    return Artifact([{"dir": folder, "entry": "", "batch": 0}], "saved_model", converter, notes=notes)


def _only_what_serving_reads(folder: str, names: list[str]) -> list[str]:
    if os.path.isfile(os.path.join(folder, "saved_model.pb")) or os.path.isfile(os.path.join(folder, "saved_model.pbtxt")):
        return [n for n in names if n not in ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "variables", "assets")]
    return []
