"""KerasHub's vision transformers, castled: their weights, a training step, files, and its end."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.layers import AngularSelfAttention
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch

pytestmark = pytest.mark.plugins


def vit(hub, **options):
    return hub.models.ViTBackbone(
        image_shape=(32, 48, 3),
        patch_size=(16, 16),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        **options,
    )


def deit(hub):
    return hub.models.DeiTBackbone(
        image_shape=(32, 48, 3),
        patch_size=(16, 16),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        dropout_rate=0.0,
    )


def classifier(hub):
    return hub.models.ViTImageClassifier(vit(hub), num_classes=3, preprocessor=None)


MODELS = {"vit": vit, "deit": deit, "classifier": classifier}


@pytest.fixture(scope="module")
def hub():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_hub
    return keras_hub


@pytest.fixture
def seen():
    """The report of `benchmarks/plugins.py` isn't about these."""


@slow_but_on_torch
@pytest.mark.parametrize("name", MODELS)
def test_castle(name, hub, tmp_path):
    model = randomise(MODELS[name](hub))
    images = np.random.default_rng(0).uniform(0, 1, (2, 32, 48, 3)).astype("float32")
    castled = keras_paca.castle(model, prefix_tokens=0)
    assert isinstance(castled, type(model))
    theirs = {w.path: keras.ops.convert_to_numpy(w).ravel() for w in model.weights}
    ours = {w.path: keras.ops.convert_to_numpy(w).ravel() for w in castled.weights}
    fresh = [path for path in ours if path.endswith("local/kernel")]
    assert len(fresh) == 2
    assert set(ours) - set(fresh) == set(theirs)
    for path, array in theirs.items():
        np.testing.assert_array_equal(ours[path], array)

    castled.compile("sgd", "mse")
    outputs = castled.predict(images, verbose=0)
    schedule = keras_paca.train.CastlingSchedule()
    history = castled.fit(
        images, np.zeros_like(outputs), batch_size=1, epochs=2, verbose=0, callbacks=[schedule]
    ).history
    densities = [values for key, values in history.items() if key.startswith("mask_density")]
    assert len(densities) == 2
    assert all(first > 0 and last == 0 for first, last in densities)
    assert not castled.auxiliary
    castled.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(castled)
    assert not loaded.auxiliary
    attention = [x for x in loaded._flatten_layers() if isinstance(x, AngularSelfAttention)]
    assert len(attention) == 2
    wanted = castled(images)
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (loaded(images), wanted)))
    assert error(keras_paca.fuse(loaded)(images), wanted) < 1e-5


@slow_but_on_torch
def test_lora(hub):
    """KerasHub's own training of low ranks finds the projections."""
    castled = keras_paca.castle(vit(hub))
    castled.enable_lora(2)
    lora = [w.path.split("/")[-2:] for w in castled.trainable_weights if "lora" in w.name]
    assert sorted(lora) == sorted(
        2 * [[a, f"lora_kernel_{b}"] for a in ("query", "value") for b in "ab"]
    )


@slow_but_on_torch
def test_quantized(hub, tmp_path):
    """KerasHub's file says which projections are quantized, those of our attention too."""
    castled = randomise(keras_paca.castle(vit(hub)))
    castled.quantize("int8")
    attention = next(x for x in castled._flatten_layers() if isinstance(x, AngularSelfAttention))
    assert attention.query_dense.quantization_mode == "int8"
    castled.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).uniform(0, 1, (2, 32, 48, 3)).astype("float32")
    np.testing.assert_array_equal(
        *map(keras.ops.convert_to_numpy, (loaded(images), castled(images)))
    )
