"""Models found and built by their names."""

import csv
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import create_model, list_models, models
from keras_paca.backbones import registry, variant
from keras_paca.weights import released
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch  # no backend computes anything here, but for the counts
OURS = [model for model in list_models() if model.function.__module__.startswith("keras_paca.")]
LARGE = 5e9  # multiply-accumulates from which a count takes seconds


def test_every_function_is_listed():
    packages = (keras_paca.backbones, keras_paca.segmentation, keras_paca.detection)
    functions = {
        function.__name__
        for package in packages
        for function in vars(package).values()
        if inspect.isfunction(function) and "weights" in inspect.signature(function).parameters
    }
    assert {model.function.__name__ for model in OURS} == functions
    assert len({model.name for model in OURS}) == len(OURS)


def test_what_is_known_of_each():
    known = {model.name: model for model in OURS}
    small = known["paca_small_segmenter"]
    assert (small.family, small.task, small.weights) == ("PaCaViT", "segmentation", "ade20k")
    assert small.accuracy == {"miou": 48.3}  # of the default head
    assert {file.head for file in small.files} == {"paca", "upernet"}
    tiny = known["rapidnet_ti"]
    assert (tiny.accuracy, tiny.licence) == ({"top1": 76.3}, "Apache-2.0")
    assert known["rapidnet_s"].accuracy == {}
    assert known["vittm_tiny"].weights == known["vittm_tiny"].licence == ""
    restricted = known["resnet50_an"]
    assert (restricted.weights, restricted.licence) == ("", "research alone, not downloaded")
    assert hash(tiny) == hash(list_models("rapidnet_ti")[0])


def test_patterns():
    assert [model.name for model in list_models("RapidNet_?")] == [
        "rapidnet_s",
        "rapidnet_m",
        "rapidnet_b",
    ]
    assert list_models("none*") == []
    assert repr(list_models("none*")) == "no models"
    with pytest.raises(ValueError, match=r'"rapidnet\*", or None. Received: pattern=3'):
        list_models(3)


def test_it_is_shown_as_a_table():
    found = list_models("rapidnet_*")
    lines = str(found).splitlines()
    assert len(lines) == len(found) + 1
    (row,) = [line for line in lines if line.startswith("rapidnet_ti ")]
    assert row.split() == ["rapidnet_ti", "6.6", "M", "0.62", "G", "224", "x", "224", "top-1",
                           "76.3", "imagenet", "Apache-2.0"]  # fmt: skip
    html = found._repr_html_()
    assert html.count("<tr>") == len(lines)
    assert "<td>rapidnet_ti</td>" in html


def test_a_variant_of_the_user(monkeypatch):
    monkeypatch.setattr(keras_paca.PaCaViT, "variants", dict(keras_paca.PaCaViT.variants))
    monkeypatch.setattr(released, "_registered", {})
    variant(keras_paca.PaCaViT, "paca_pico", hidden_dims=(8,) * 4, depths=1, num_heads=1)
    (model,) = list_models("paca_pico")
    assert (model.parameters, model.macs, model.accuracy, model.weights) == (None, None, {}, "")
    assert model.cells[:4] == ("paca_pico", "", "", "")
    assert create_model("paca_pico", weights=None, classes=3).output_shape == (None, 3)


def test_create_model():
    model = create_model("rapidnet_ti", weights=None, classes=3, input_shape=(64, 64, 3))
    assert isinstance(model, keras_paca.RapidNet)
    assert model.name == "rapidnet_ti"
    with pytest.raises(
        ValueError, match=r"Similar names: rapidnet_ti.* Received: name='rapidnet_t'"
    ):
        create_model("rapidnet_t")
    with pytest.raises(TypeError, match="RapidNetTi"):
        create_model("rapidnet_ti", clusters=3)


def test_registry():
    keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    families = registry.families()
    ours = [keras_paca.PaCaViT, keras_paca.RapidNet, keras_paca.ViTTM, keras_paca.CastlingViT]
    assert families[: len(ours)] == ours
    assert registry.variants().keys() <= registry.models().keys()


# --- The counts ---------------------------------------------------------------------------------


def _rows():
    path = Path(models.__file__).parent / "models.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["name"]: row for row in csv.DictReader(lines)}


def test_every_model_is_counted():
    """Else run `KERAS_BACKEND=torch python benchmarks/variants.py NAME`."""
    assert list(_rows()) == [model.name for model in OURS]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch counts its operations")
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(each, marks=[pytest.mark.slow] * ((each.macs or 0) > LARGE), id=each.name)
        for each in OURS
    ],
)
def test_counts(model, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from macs import count_costs

    built = model.function(weights=None)
    parameters = sum(int(np.prod(weight.shape)) for weight in built.trainable_weights)
    assert parameters == model.parameters
    images = np.zeros((1, *model.image_size, 3), "float32")
    macs, _ = count_costs(lambda: built(images, training=False))
    # a detector's heads run on what it finds
    assert macs == pytest.approx(model.macs, rel=1e-3 if model.task == "detection" else 0)
