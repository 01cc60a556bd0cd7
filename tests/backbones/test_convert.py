"""Checkpoints from one format into another and back."""

import keras
import numpy as np
import pytest

from keras_paca import PaCaTiny, PaCaViT, weights
from keras_paca.backbones import convert, variant
from tests.marks import slow_but_on_torch
from tests.stand_ins import released_tensors
from tests.torch_writer import save_zip

pytestmark = slow_but_on_torch


def test_convert_clusters_of_some_blocks(tmp_path):
    model = PaCaTiny(weights=None, cluster_every=(None, 1, 2, None))
    model.save_weights(tmp_path / "some.weights.h5")
    convert.convert(tmp_path / "some.weights.h5", tmp_path / "some.keras")
    found = keras.saving.load_model(tmp_path / "some.keras")
    for loaded, saved in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".safetensors"])
def test_convert_and_back(suffix, tmp_path, tiny_file):
    convert.convert(tiny_file, tmp_path / f"tiny{suffix}")
    convert.convert(tmp_path / f"tiny{suffix}", tmp_path / "back.safetensors")
    found = weights.open_checkpoint(tmp_path / "back.safetensors").tensors
    expected = released_tensors("tiny")
    assert set(found) == set(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["back.safetensors", f"tiny{suffix}"]
    )


@slow_but_on_torch
@pytest.mark.parametrize(
    ("clustering", "clusters", "blockwise"),
    [
        ("teacher", None, False),
        ("conv", 10, True),
        pytest.param("linear", 49, True, marks=pytest.mark.slow),
        pytest.param("mlp", None, False, marks=pytest.mark.slow),
    ],
)
def test_convert_knows_the_variant(clustering, clusters, blockwise, tmp_path):
    tensors = released_tensors("tiny", clustering, clusters, blockwise)
    save_zip(tmp_path / "in.pth", tensors)
    convert.convert(tmp_path / "in.pth", tmp_path / "out.keras")
    config = keras.saving.load_model(tmp_path / "out.keras").get_config()
    assert config["clustering"] == clustering
    assert config["cluster_every"] == ((1,) * 4 if blockwise else (None,) * 4)
    convert.convert(tmp_path / "out.keras", tmp_path / "back.safetensors")
    found = weights.open_checkpoint(tmp_path / "back.safetensors").tensors
    for key, array in found.items():
        np.testing.assert_array_equal(array, tensors[key])


def test_convert_refuses(tmp_path, tiny_file):
    with pytest.raises(ValueError, match="must end in"):
        convert.convert(tiny_file, tmp_path / "out.pth")
    with pytest.raises(FileNotFoundError):
        convert.convert(tmp_path / "none.pth", tmp_path / "out.keras")
    save_zip(tmp_path / "resnet.pth", {"conv1.weight": np.ones((64, 3, 7, 7), "float32")})
    with pytest.raises(ValueError, match=r"holds no model of .*paca_tiny, paca_small") as error:
        convert.convert(tmp_path / "resnet.pth", tmp_path / "out.keras")
    assert "Its keys aren't those of PaCaViT, RapidNet" in str(error.value)  # and perhaps others
    assert str(error.value).endswith("; the first are 'conv1.weight'.")
    assert not list(tmp_path.glob("out*"))


def test_convert_a_plain_vision_transformer(tmp_path):
    keys = ("cls_token", "patch_embed.proj.bias", "blocks.0.attn.qkv.bias", "norm.bias")
    save_zip(tmp_path / "vit.pth", {key: np.ones(8, "float32") for key in keys})
    with pytest.raises(ValueError, match="the first are 'cls_token'") as error:
        convert.convert(tmp_path / "vit.pth", tmp_path / "out.keras")
    assert str(error.value).endswith(
        "It looks like a plain vision transformer, from which a ViTTM or a CastlingViT "
        "can start by `weights=`."
    )


def test_convert_a_variant_of_one_value_for_all_stages(tmp_path, monkeypatch):
    monkeypatch.setattr(PaCaViT, "variants", dict(PaCaViT.variants))
    build = variant(PaCaViT, "paca_pico", hidden_dims=(8, 16, 16, 16), depths=1, num_heads=1)
    build(weights=None, classes=3).save(tmp_path / "pico.keras")
    convert.convert(tmp_path / "pico.keras", tmp_path / "pico.safetensors")
    tensors = weights.open_checkpoint(tmp_path / "pico.safetensors").tensors
    assert tensors["head.weight"].shape == (3, 16)
