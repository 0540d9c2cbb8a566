"""The network as TensorFlow itself runs it: the native baseline."""

import os
import shutil

from verge_toolchain.converters import Artifact, Job
from verge_toolchain.graph import frozen


def convert(job: Job) -> Artifact:
    import tensorflow as tf

    job.only("f32")
    if job.form == "unrolled":
        job.step("unrolling")
        folder = os.path.join(job.folder(), "model")
        frozen.write(job.source, "unrolled", 0, folder, job.source.signature_name)
        return _artifact(job, folder, f"tensorflow {tf.__version__}, unrolled")
    folder = job.folder()
    if job.source.kind == "saved_model":
        origin, converter = job.source.path, "source file"
    else:
        import keras

        origin, converter = job.source.network, f"keras {keras.__version__}"
    shutil.copytree(origin, folder, dirs_exist_ok=True, ignore=_only_what_serving_reads)
    return _artifact(job, folder, converter)


def _artifact(job: Job, folder: str, converter: str) -> Artifact:
    return Artifact([{"dir": folder, "entry": "", "batch": job.source.signature.fixed_batch}], "saved_model", converter)


def _only_what_serving_reads(folder: str, names: list[str]) -> list[str]:
    if os.path.isfile(os.path.join(folder, "saved_model.pb")) or os.path.isfile(os.path.join(folder, "saved_model.pbtxt")):
        return [n for n in names if n not in ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "variables", "assets")]
    return []
