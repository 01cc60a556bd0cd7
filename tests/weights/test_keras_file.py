"""Saved Keras files as plain arrays."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_paca.weights.keras_file import read_keras_file
from keras_paca.weights.loader import keras_keys
from keras_paca.weights.torch_file import CheckpointError
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    """A model with optimizer and metrics, saved both ways."""
    folder = tmp_path_factory.mktemp("saved")
    model = small(clustering="teacher", layer_scale=0.1)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return model, folder


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_every_weight_under_its_key(saved, name):
    model, folder = saved
    arrays = read_keras_file(folder / name)
    variables = keras_keys(model)
    assert set(arrays) == set(variables)
    for key, variable in variables.items():
        np.testing.assert_array_equal(arrays[key], keras.ops.convert_to_numpy(variable))
    assert "stage1_block1/attention/query/0" in arrays


def test_bfloat16_weights(small, tmp_path):
    model = small(dtype="bfloat16", hidden_dims=16, num_heads=1, clusters=5, depths=1)
    model.save_weights(tmp_path / "half.weights.h5")
    arrays = read_keras_file(tmp_path / "half.weights.h5")
    for key, variable in keras_keys(model).items():
        expected = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
        np.testing.assert_array_equal(arrays[key].astype("float32"), expected)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_keras_file(tmp_path / "none.keras")


def test_damaged_files(saved):
    _, folder = saved
    for name in ("model.keras", "model.weights.h5"):
        data = (folder / name).read_bytes()
        for part in (b"", data[:100], data[: len(data) // 2], b"x" * 500):
            (folder / f"bad_{name}").write_bytes(part)
            with pytest.raises(CheckpointError, match=f"bad_{name}"):
                read_keras_file(folder / f"bad_{name}")


def test_zip_without_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(CheckpointError, match=r"model\.keras"):
        read_keras_file(tmp_path / "model.keras")


def test_zip_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * 50_000_000)
    with pytest.raises(CheckpointError, match="compressed"):
        read_keras_file(tmp_path / "model.keras")


def test_hdf5_that_refers_elsewhere(tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"12345678")
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group.create_dataset("0", (2,), "float32", external=[(str(tmp_path / "secret.bin"), 0, 8)])
    with pytest.raises(CheckpointError, match="lies in another file"):
        read_keras_file(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "b.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("a.weights.h5", "layers/dense/vars/0")
    with pytest.raises(CheckpointError, match="no layers"):
        read_keras_file(tmp_path / "b.weights.h5")


def test_hdf5_larger_than_what_is_stored(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 40,), "float32", chunks=(1024,))
    with pytest.raises(CheckpointError, match="larger than what is stored"):
        read_keras_file(tmp_path / "a.weights.h5")


def test_hdf5_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="no layers"):
        read_keras_file(tmp_path / "a.weights.h5")
