"""Rules of refusal on their own, without a converter."""

import os

import h5py
import pytest

from verge_toolchain import safety
from verge_toolchain.errors import Refused


def layer(name, module="keras.layers", config=None):
    return {"class_name": name, "module": module, "config": config or {}}


@pytest.mark.parametrize("name", ["Lambda", "TFSMLayer", "TorchModuleWrapper"])
def test_layers_that_hold_code(name):
    with pytest.raises(Refused, match=name):
        safety.check_keras_config(layer("Functional", "keras.src.models.functional", {"layers": [layer("Dense"), layer(name)]}))


@pytest.mark.parametrize("module", ["os", "builtins2", "keras_cv.layers", "keras.utils", "kerasx.layers", "tensorflow.python.lib.io"])
def test_objects_of_other_modules(module):
    with pytest.raises(Refused, match="module"):
        safety.check_keras_config(layer("Anything", module))


@pytest.mark.parametrize("module", ["keras", "keras.layers", "keras.src.models.functional", "keras.initializers", "builtins"])
def test_keras_own_modules_pass(module):
    safety.check_keras_config(layer("Dense", module, {"kernel_initializer": layer("GlorotUniform", "keras.initializers")}))


def test_deep_configuration():
    config = {}
    for _ in range(300):
        config = {"config": config}
    with pytest.raises(Refused, match="levels"):
        safety.check_keras_config(config)


def test_hdf5_that_points_elsewhere(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("weights", data=[1.0])
        safety.check_hdf5(f, "a.h5")
        f["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/x")
        with pytest.raises(Refused, match="another file"):
            safety.check_hdf5(f, "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as f:
        f.create_dataset("weights", shape=(4,), dtype="u1", external=[(str(tmp_path / "a.h5"), 0, 4)])
        with pytest.raises(Refused, match="another file"):
            safety.check_hdf5(f, "b.h5")


@pytest.mark.parametrize("location", ["", "/etc/passwd", "../w.bin", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", "w\0.bin"])
def test_external_data_outside_the_folder(tmp_path, location):
    with pytest.raises(Refused, match="outside the model's folder"):
        safety.check_external_location(location, str(tmp_path), "w")


def test_external_data_behind_a_link(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(b"1234")
    os.symlink(tmp_path / "secret", tmp_path / "model" / "w.bin")
    with pytest.raises(Refused, match="link out of"):
        safety.check_external_location("w.bin", str(tmp_path / "model"), "w")
    (tmp_path / "model" / "own.bin").write_bytes(b"1234")
    assert safety.check_external_location("own.bin", str(tmp_path / "model"), "w").endswith("own.bin")
