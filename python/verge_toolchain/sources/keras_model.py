"""Keras models: .keras archives and HDF5 files, exported to a SavedModel once and converted from there."""

from __future__ import annotations

import json
import os
import zipfile

from verge_toolchain import safety
from verge_toolchain.errors import Refused, one_sentence
from verge_toolchain.sources import Inspected, saved_model

MAX_CONFIG_BYTES = 64 << 20
MAX_ARCHIVE_BYTES = 8 << 30


def inspect(path: str, signature: str | None, work: str, report) -> Inspected:
    kind = "keras" if path.endswith(".keras") or zipfile.is_zipfile(path) else "h5"
    (_check_archive if kind == "keras" else _check_h5)(path)
    model = load(path)
    network = os.path.join(work, "network")
    try:
        model.export(network, format="tf_saved_model", verbose=False)
    except Exception as e:
        raise Refused(f"Keras cannot export the model: {one_sentence(str(e), 200)}; export it as a SavedModel yourself") from e
    inspected = saved_model.inspect(network, signature, work, report)
    inspected.kind, inspected.path = kind, path
    return inspected


def load(path: str):
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as e:
        raise Refused(f"Keras {keras.__version__} cannot load the model: {one_sentence(str(e), 200)}") from e


def _config(data: bytes | str, where: str) -> None:
    if len(data) > MAX_CONFIG_BYTES:
        raise Refused(f"{where} is {len(data)} bytes, more than any model's configuration")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Refused(f"{where} is not JSON: {one_sentence(str(e), 150)}") from e
    safety.check_keras_config(config)


def _check_archive(path: str) -> None:
    import h5py

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {m.filename for m in members}
            if "config.json" not in names:
                raise Refused("the .keras archive has no config.json; save the model again with model.save('NAME.keras')")
            if any(n.startswith("/") or "\\" in n or ".." in n.split("/") for n in names):
                raise Refused("the .keras archive holds a path that climbs out of it")
            if sum(m.file_size for m in members) > MAX_ARCHIVE_BYTES:
                raise Refused(f"the .keras archive claims to unpack to more than {MAX_ARCHIVE_BYTES >> 30} GB")
            if archive.getinfo("config.json").file_size > MAX_CONFIG_BYTES:
                raise Refused("config.json of the .keras archive is too long")
            _config(archive.read("config.json"), "config.json")
            for name in names:
                if name.endswith(".h5"):
                    with archive.open(name) as f, h5py.File(f, "r") as weights:
                        safety.check_hdf5(weights, name)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as e:
        raise Refused(f"the .keras archive is damaged: {one_sentence(str(e), 200)}") from e


def _check_h5(path: str) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            safety.check_hdf5(file, os.path.basename(path))
            config = file.attrs.get("model_config")
            if config is None:
                raise Refused("the .h5 file holds weights without a model; save the whole model (model.save), not its weights alone")
            _config(config if isinstance(config, (bytes, str)) else bytes(config), "model_config")
    except (OSError, RuntimeError, KeyError) as e:
        raise Refused(f"the .h5 file is damaged: {one_sentence(str(e), 200)}") from e


reference = saved_model.reference
