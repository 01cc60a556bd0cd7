"""Files that an earlier version saved load with the same outputs.

Its commit is named in tests/old_files/COMMIT, and tests/old_files/write.py wrote them, on PyTorch
but for one.
"""

import json
import tarfile
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from tests.marks import slow_but_on_torch
from tests.old_files.outputs import FOLDER, compute, prepare

pytestmark = slow_but_on_torch
FACTS = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
# An optimizer that PyTorch saved is of a class that Keras has on PyTorch alone.
TRAINED = ("trained", *(("trained_on_torch",) if keras.backend.backend() == "torch" else ()))
KINDS = [kind for kind in FACTS if not kind.startswith("trained") or kind in TRAINED]
FUSED = [kind for kind in FACTS if kind.startswith("fused")]
WITH_WEIGHTS = (
    *("classifier", "teacher", "fused_mlp_fixed", "int8", "segmenter_upernet", "mask_rcnn"),
    *("own", "fused_own"),
)

# The largest difference, relative to the largest value.
TOLERANCE, OF_HALF, OF_QUANTIZED, OF_TRAINING = 1e-4, 5e-3, 2e-2, 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder that holds the files."""
    path = tmp_path_factory.mktemp("old_files")
    with tarfile.open(FOLDER / "files.tar.xz") as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def arrays():
    """Return the inputs, and the outputs of each kind."""
    with np.load(FOLDER / "outputs.npz") as stored:
        return dict(stored)


@pytest.fixture
def load(folder):
    """Return a function that loads the file of a kind."""
    return lambda kind: keras.saving.load_model(folder / f"{kind}.keras")


def images_for(kind, arrays):
    return prepare(arrays[FACTS[kind]["inputs"]])


def tolerance_of(kind):
    if FACTS[kind]["quantized"]:
        return OF_QUANTIZED
    return OF_HALF if "float16" in kind else TOLERANCE


def assert_close(found, wanted, tolerance):
    assert found.shape == wanted.shape
    found, wanted = found.astype("float64"), wanted.astype("float64")
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def assert_same_outputs(model, kind, arrays):
    found = compute(model, images_for(kind, arrays))
    wanted = {
        name.removeprefix(f"{kind}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{kind}/") and not name.endswith("/trained_again")
    }
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert_close(found[name], array, tolerance_of(kind))


def assert_same_weights(model, other):
    for a, b in zip(model.weights, other.weights, strict=True):
        assert a.path == b.path
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs(kind, load, arrays):
    model, facts = load(kind), FACTS[kind]
    assert_same_outputs(model, kind, arrays)
    assert (type(model).__name__, model.name) == (facts["class"], facts["name"])
    config = model.get_config()
    assert {key: config[key] for key in facts["config"]} == facts["config"]
    assert len(model.trainable_variables) == facts["trainable_variables"]
    modes = [layer.quantization_mode for layer in model._flatten_layers()]
    assert {mode: modes.count(mode) for mode in set(modes) if mode} == facts["quantized"]
    assert model.compiled == ("decayed" in facts)


@pytest.mark.parametrize("kind", FUSED)
def test_what_is_fused_stays_fused(kind, load, arrays, tmp_path):
    """After it was saved again, and fused once more unless it is quantized."""
    model = load(kind)
    model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    assert_same_weights(again, model)
    if not FACTS[kind]["quantized"]:
        again = keras_paca.fuse(again)
        assert type(again) is type(model)
        assert_same_weights(again, model)
    assert_same_outputs(again, kind, arrays)


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_weights_alone(kind, load, folder):
    """They load into a model of the configuration in the other file."""
    with zipfile.ZipFile(folder / f"{kind}.keras") as archive:
        config = json.loads(archive.read("config.json"))
    model = keras.saving.deserialize_keras_object(config)
    model.load_weights(folder / f"{kind}.weights.h5")
    assert_same_weights(model, load(kind))


@pytest.mark.parametrize("kind", TRAINED)
def test_training_goes_on(kind, load, arrays):
    """With the optimizer's state, and the weights that aren't decayed."""
    model, facts = load(kind), FACTS[kind]
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    assert int(model.optimizer.iterations) == 1
    decayed = [v.path for v in model.trainable_variables if model.optimizer._use_weight_decay(v)]
    assert decayed == facts["decayed"]
    assert 0 < len(decayed) < len(model.trainable_variables)
    model.jit_compile = keras.backend.backend() == "jax"  # elsewhere XLA takes longer for one step
    images = images_for(kind, arrays)
    assert np.isfinite(model.train_on_batch(images, np.array(facts["labels"]))).all()
    assert int(model.optimizer.iterations) == 2
    found = model.predict(images, verbose=0)
    assert_close(found, arrays[f"{kind}/trained_again"], OF_TRAINING)
