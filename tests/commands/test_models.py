"""`keras-paca models`, and the names and options that `--model` and `--option` take."""

import csv
import inspect
import io
import json
import re
from dataclasses import replace

import pytest

import keras_paca
from keras_paca import list_models
from keras_paca.backbones import registry
from keras_paca.commands.opening import _read_value, named_model, open_model, own_options
from keras_paca_cli import parse
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


def test_models(run):
    status, out, _ = run("models", "rapidnet*")
    assert (status, out) == (0, f"{list_models('rapidnet*')}\n")
    status, out, _ = run("models", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["rapidnet_ti"]["top1"] == 76.3
    assert rows["paca_tiny_segmenter"]["height"] == 512
    status, out, _ = run("models", "vittm*", "--csv")
    assert [row["name"] for row in csv.DictReader(io.StringIO(out))] == [
        model.name for model in list_models("vittm*")
    ]
    status, out, err = run("models", "rapidnet_t")
    assert (status, out) == (1, "")
    assert "Similar names: rapidnet_ti" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "task", "name"),
    [
        ("tiny", "classification", "paca_tiny"),
        ("base", "segmentation", "paca_base_segmenter"),
        ("rapidnet_ti", "classification", "rapidnet_ti"),
        ("rapidnet_m", "detection", "rapidnet_m_mask_rcnn"),
        ("paca_tiny_segmenter", "classification", "paca_tiny_segmenter"),
        ("paca_tiny_segmenter", "detection", "paca_tiny_segmenter"),  # the command refuses it
    ],
)
def test_names(model, task, name):
    options = parse(["evaluate", "photos", "--model", model])
    assert named_model(options, task).name == name


def test_names_that_no_model_has():
    for arguments, words in (
        (
            ["predict", "a.jpg", "--model", "rapidnet"],
            r"Similar names: rapidnet_ti, rapidnet_s, rapidnet_m, rapidnet_b\. Received: rapidnet",
        ),
        (["predict", "a.jpg", "--model", "vittm"], "Similar names: vittm_tiny, vittm_small"),
        (["predict", "a.jpg", "--model", "paca_tony"], "Similar names: paca_tiny"),
        (["export", "huge", "out.onnx"], r"MODEL must be a name .* Received: huge"),
        (["predict", "a.jpg", "--model", "rapidnet_ti.pth"], "given by --weights"),
    ):
        with pytest.raises(ValueError, match=words):
            named_model(parse(arguments))
    options = parse(["evaluate", "--model", "rapidnet_ti"])
    with pytest.raises(ValueError, match="There is no detector on rapidnet_ti"):
        named_model(options, "detection")


def own(model, *arguments):
    options = parse(["predict", "a.jpg", "--model", model, *arguments])
    return own_options(options, named_model(options))


def test_options_of_families():
    assert own("tiny", "--clusters", "9,8,7,0", "--blockwise", "--clustering", "mlp") == {
        "clustering": "mlp",
        "clusters": [9, 8, 7, 0],
        "cluster_every": 1,
    }
    options = ("--option", "memory-patch-size=16", "--option", "process_patch_size=32")
    found = own("vittm_base", *options, "--option", "layer_scale=none", "--option", "remat=true")
    assert found == {
        "memory_patch_size": 16,
        "process_patch_size": 32,
        "layer_scale": None,
        "remat": True,
    }
    assert own("rapidnet_ti", "--ema") == {"ema": True}
    assert own("paca_tiny_segmenter", "--option", "head=upernet") == {"head": "upernet"}


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("rapidnet_ti", "--clusters 9 --blockwise", "rapidnet_ti doesn't take --clusters, --block"),
        ("vittm_tiny", "--clustering mlp", "doesn't take --clustering. Its own options, for"),
        ("tiny", "--ema", "paca_tiny doesn't take --ema"),
        ("tiny", "--option memory_patch_size=16", "doesn't take --option memory_patch_size=..."),
        ("rapidnet_m_segmenter", "--option dropout=0.5", "doesn't take --option dropout=..."),
        ("tiny", "--option classes=5", "doesn't take --option classes"),
        ("tiny", "--option drop_path_rate=high", "must be none or a number. Received: drop_path_r"),
        ("tiny", "--option remat=1", "--option remat must be true or false. Received: remat=1"),
        ("tiny", "--clusters 9 --option clusters=8", "clusters can be given once"),
        ("tiny", "--option remat=true --option remat=true", "remat can be given once"),
    ],
)
def test_options_that_a_family_does_not_have(model, arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        own(model, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--model RapidNetTi", "--model must be a name that `keras-paca models` lists"),
        ("--option foo=1", "paca_tiny doesn't take --option foo=..."),
        ("--option dropout=2", "`dropout` must lie in [0, 1). Received: dropout=2"),
        ("", "With --weights none, the predictions would come from random weights."),
    ],
)
def test_what_is_wrong_beside_the_weights(arguments, words):
    """Random weights are refused last: without them, the command would fail for the other."""
    options = parse(["predict", "a.jpg", "--weights", "none", *arguments.split()])
    with pytest.raises(ValueError, match=re.escape(words)):
        open_model(options, trained=True)


def test_every_option_has_a_type_that_can_be_read():
    texts = ("none", "true", "0", "0.5", "(1, 2)", "word")
    for model in registry.models().values():
        for name, parameter in model.options.items():
            read = []
            for text in texts:
                try:
                    read.append(_read_value(name, text, parameter.annotation))
                except ValueError:
                    continue
            assert read, f"{model.name} {name}: {parameter.annotation}"


def test_options_reach_the_model(run, photograph, monkeypatch):
    """Of a family other than PaCa-ViT, in every command that opens a model."""
    built = []

    def build(**options):
        built.append(options)
        raise ValueError("seen")

    build.__signature__ = inspect.signature(keras_paca.RapidNetTi)
    models = keras_paca.RapidNet.variants["rapidnet_ti"].models
    monkeypatch.setitem(models, "rapidnet_ti", replace(models["rapidnet_ti"], function=build))
    path = photograph("a.png")
    own = ("--ema", "--option", "drop_path_rate=0.5")
    for command in (
        ("predict", path, "--model", "rapidnet_ti"),
        ("evaluate", path.parent, "--model", "rapidnet_ti"),
        ("benchmark", "rapidnet_ti"),
    ):
        status, _, err = run(*command, *own)
        assert (status, err) == (1, "keras-paca: seen\n"), command
    assert built == [{"weights": "imagenet", "ema": True, "drop_path_rate": 0.5}] * 3
