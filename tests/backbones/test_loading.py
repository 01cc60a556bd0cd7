"""Released checkpoints into models: what loads, what is refused, and why."""

import os
import re
import warnings

import keras
import numpy as np
import pytest

from keras_paca import PaCaBase, PaCaSmall, PaCaTiny, weights
from keras_paca.backbones import PaCaViT, convert, loading
from keras_paca.weights import released_files, write_safetensors
from tests.marks import slow_but_on_torch
from tests.parity import official, recipe
from tests.served import served
from tests.stand_ins import official_checkpoint, released_tensors, write_released
from tests.torch_writer import save_legacy, save_zip

pytestmark = slow_but_on_torch


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "IMNET_224_pacavit_tiny_p2cconv_100_0.pth"
    write_released(path, released_tensors("tiny"))
    return path


def _features(model, images):
    """Return P5, whatever the model ends in."""
    return keras.Model(model.input, model.pyramid_outputs["P5"]).predict(images, verbose=0)


@pytest.fixture(scope="module")
def expected(tiny_file):
    """The visible parity case's logits: the stand-in file is its checkpoint."""
    return official.case("pacavit_tiny_p2cconv_100_0")


@pytest.fixture(scope="module")
def visible_weights(expected):
    """The weights with which the model computes that case, as `tests/parity` shows."""
    model = PaCaTiny(weights=None)
    official.load(model, expected[1])
    return model.get_weights()


def _logits(model, case):
    images = official.images((1, 3, 96, 128), case[0]["seed"])
    return official.relative_error(model.predict(images, verbose=0), case[2]["logits_96x128"])


@pytest.mark.parametrize(
    "kind",
    [
        "zip",
        pytest.param("legacy", marks=pytest.mark.slow),
        "bare",
        "safetensors",
        "module.",
        "_orig_mod.",
    ],
)
def test_every_form_of_an_official_file(kind, tmp_path, visible_weights):
    tensors = released_tensors("tiny")
    path = tmp_path / "file.pth"
    if kind == "zip":
        write_released(path, tensors)
    elif kind == "legacy":
        save_legacy(path, {"model": tensors})
    elif kind == "bare":
        save_zip(path, tensors)
    elif kind == "safetensors":
        path = tmp_path / "file.safetensors"
        write_safetensors(path, tensors)
    else:
        save_zip(path, {"state_dict_ema": {kind + key: value for key, value in tensors.items()}})
    for found, expected in zip(PaCaTiny(weights=path).get_weights(), visible_weights, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_saved_keras_files(suffix, tmp_path, tiny_file, images):
    model = PaCaTiny(weights=tiny_file)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / f"saved{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    x = images(1, 64, 64, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = PaCaTiny(weights=path)
        headless = PaCaTiny(weights=path, include_top=False)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    features = _features(model, x)
    np.testing.assert_array_equal(headless.predict(x, verbose=0), features)
    with pytest.warns(UserWarning, match="made for 1000 classes, not 7"):
        other = PaCaTiny(weights=path, classes=7)
    np.testing.assert_array_equal(_features(other, x), features)
    with pytest.warns(UserWarning, match="clusters, not"):
        PaCaTiny(weights=path, clusters=(50, 100, 100, 0))
    with pytest.raises(ValueError, match="does not fit this model"):
        PaCaSmall(weights=path)


def test_variables_side_by_side_in_one_official_tensor():
    """As the positions of the class token and of the patches in a ViT, along the second axis."""
    parts = (weights.Entry("a", "x", "tokens"), weights.Entry("b", "x", "positions"))
    entry = weights.JoinedEntry(parts, axis=1)
    arrays = {"a/x": np.full((1, 3), 1.0), "b/x": np.full((2, 2, 3), 2.0)}
    assert entry.official_shape(arrays) == (1, 5, 3)
    joined = entry.join(arrays)
    assert joined[0, :, 0].tolist() == [1, 2, 2, 2, 2]
    for path, array in entry.split(joined, arrays):
        np.testing.assert_array_equal(array, arrays[path])


def test_saved_keras_file_with_a_teacher(tmp_path, images):
    model = PaCaTiny(weights=None, clustering="teacher", clusters=(30, 20, 10, 5))
    model.save_weights(tmp_path / "teacher.weights.h5")
    again = PaCaTiny(weights=tmp_path / "teacher.weights.h5", clustering="teacher")
    assert again.get_config()["clusters"] == (30, 20, 10, 5)
    x = images(1, 64, 64, 3)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


# --- The named reasons, and what lies outside them ----------------------------------------


def test_reason_a_counters_and_blur():
    model = PaCaTiny(weights=None, clustering="teacher")
    tensors = official_checkpoint(model)
    assert any(key.endswith("blur_filter") for key in tensors)
    assert any(key.endswith("num_batches_tracked") for key in tensors)
    loading.load_weights(model, _checkpoint(tensors), other_options=False)
    key = next(key for key in tensors if key.endswith("blur_filter"))
    with pytest.raises(ValueError, match="blur_filter"):
        loading.load_weights(
            model, _checkpoint({**tensors, key: tensors[key] * 2}), other_options=False
        )


def test_reason_b_no_top(tiny_file, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = PaCaTiny(weights=tiny_file, include_top=False, pooling="avg")
    assert model.predict(images(1, 64, 64, 3), verbose=0).shape == (1, 384)


@pytest.mark.parametrize("folder", ["segmentation", "detection"])
def test_reason_c_backbone_of_a_detector_or_segmenter(folder, tmp_path, images):
    shapes = DOWNSTREAM[folder]
    model = PaCaTiny(weights=None, clusters=shapes["clusters"], include_top=False)
    backbone = official_checkpoint(model)
    tensors = {f"backbone.{key}": value for key, value in backbone.items()}
    tensors |= {key: recipe.fill(key, shape) for key, shape in shapes["heads"].items()}
    save_zip(tmp_path / "file.pth", {"meta": {"epoch": 12}, "state_dict": tensors})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = PaCaTiny(weights=tmp_path / "file.pth", include_top=False)
    assert found.get_config()["clusters"] == shapes["clusters"]  # read from the file
    loading.load_weights(model, _checkpoint(backbone), other_options=False)
    x = images(1, 64, 64, 3)
    np.testing.assert_array_equal(found.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.warns(UserWarning, match="the head keeps its initial values"):
        PaCaTiny(weights=tmp_path / "file.pth", classes=3)


DOWNSTREAM = {
    "segmentation": {
        "clusters": (200, 200, 200, 0),
        "heads": {"decode_head.conv_seg.weight": (150, 256, 1, 1), "auxiliary_head.x": (3,)},
    },
    "detection": {
        "clusters": (100, 100, 100, 0),
        "heads": {"neck.lateral_convs.0.conv.weight": (256, 96, 1, 1), "rpn_head.b": (3,)},
    },
}


def test_reason_d_another_number_of_classes(tiny_file, images):
    with pytest.warns(UserWarning, match="made for 1000 classes, not 7; the head keeps"):
        model = PaCaTiny(weights=tiny_file, classes=7)
    kernel = model.get_layer("predictions").get_weights()[0]
    assert abs(kernel.std() - 0.02) < 0.002
    whole = PaCaTiny(weights=tiny_file)
    x = images(1, 64, 64, 3)
    np.testing.assert_array_equal(_features(model, x), _features(whole, x))


@pytest.mark.parametrize("clustering", ["conv", "mlp", "linear", "teacher"])
def test_reason_e_other_clusters_that_were_asked_for(clustering):
    source = PaCaTiny(weights=None, clustering=clustering)
    tensors = official_checkpoint(source)
    held = source.get_config()["clusters"]
    wanted = (50, held[1], 30, held[3])
    model = PaCaTiny(weights=None, clustering=clustering, clusters=wanted)
    before = {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}
    with pytest.warns(UserWarning, match=r"clusters, not \(50, 100, 30"):
        loading.load_weights(model, _checkpoint(tensors), other_options=True)
    same = {
        path.split("/", 1)[0] + "/" + path.rsplit("/", 2)[-2]
        for path, value in before.items()
        if np.array_equal(value, keras.ops.convert_to_numpy(_by_path(model)[path]))
    }
    if clustering == "teacher":
        assert same == {"teacher/projection1", "teacher/projection3"}
    else:
        assert same == {"stage1_block1/projection", "stage3_block1/projection"}
    with pytest.raises(ValueError, match=r"(2|4) of another shape"):
        loading.load_weights(model, _checkpoint(tensors), other_options=False)


def _by_path(model):
    return {w.path: w for w in model.weights}


def _checkpoint(tensors):
    return weights.Checkpoint("stand-in.pth", official=True, tensors=tensors)


MISMATCHES = {
    "missing": lambda t: t.pop("stage1.0.attn.q.weight"),
    "unexpected": lambda t: t.update(extra=np.zeros(3, "float32")),
    "unexpected counter": lambda t: t.update(num_batches=np.zeros((), "int64")),
    "other shape": lambda t: t.update({"norm1.weight": np.ones(97, "float32")}),
    "transposed": lambda t: t.update({"stage1.0.mlp.fc1.weight": t["stage1.0.mlp.fc1.weight"].T}),
    "integers": lambda t: t.update({"norm1.weight": np.ones(96, "int32")}),
    "other clusters": lambda t: t.update(
        {k: v[:50] for k, v in t.items() if k.endswith("clustering.4.weight")}
    ),
    "no head": lambda t: (t.pop("head.weight"), t.pop("head.bias")),
    "half a head": lambda t: t.pop("head.bias"),
    "head of other channels": lambda t: t.update({"head.weight": np.ones((1000, 96), "float32")}),
    "head at odds": lambda t: t.update({"head.bias": np.ones(999, "float32")}),
    "other head of other channels": lambda t: t.update(
        {"head.weight": np.ones((9, 96), "float32"), "head.bias": np.ones(9, "float32")}
    ),
    "another stage": lambda t: t.update({"stage5.0.attn.q.weight": np.ones((4, 4), "float32")}),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_other_mismatches_change_nothing(name):
    model = PaCaTiny(weights=None)
    before = model.get_weights()
    tensors = dict(released_tensors("tiny"))
    MISMATCHES[name](tensors)
    with pytest.raises(ValueError, match=r"stand-in\.pth does not fit this model"):
        loading.load_weights(model, _checkpoint(tensors), other_options=False)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "key", ["stage1.0.attn.clustering.clustering.4.weight", "head.weight", "norm1.weight"]
)
def test_tensors_without_axes_and_alone(key, tmp_path):
    for name, tensors in (
        ("scalar", {**released_tensors("tiny"), key: np.float32(1)}),
        ("alone", {key.replace("weight", "bias"): np.ones(3, "float32")}),
    ):
        path = tmp_path / f"{name}.safetensors"
        write_safetensors(path, {k: np.asarray(v) for k, v in tensors.items()})
        with pytest.raises(ValueError, match=re.escape(path.name)):
            PaCaTiny(weights=path)
        with pytest.raises(ValueError, match=re.escape(path.name)):
            convert.convert(path, tmp_path / "out.keras")


def test_half_precision_files_load_as_float32(tmp_path):
    tensors = {key: value.astype("float16") for key, value in released_tensors("tiny").items()}
    save_zip(tmp_path / "half.pth", tensors)
    model = PaCaTiny(weights=tmp_path / "half.pth")
    assert all(w.dtype == "float32" for w in model.weights)
    kernel = model.get_layer("predictions").get_weights()[0]
    np.testing.assert_array_equal(kernel, tensors["head.weight"].T.astype("float32"))


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError, match='must be "imagenet", None or the path'):
        PaCaTiny(weights="imagnet")
    with pytest.raises(FileNotFoundError, match="no file at"):
        PaCaTiny(weights=tmp_path / "none.keras")
    for name in ("text.pth", "text.keras", "text.weights.h5", "text.safetensors"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
            PaCaTiny(weights=tmp_path / name)
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
            PaCaTiny(weights=tmp_path)


# --- Named weights -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (PaCaTiny, {"clustering": "mlp"}),
        (PaCaTiny, {"clustering": "linear"}),
        (PaCaSmall, {"clustering": "linear"}),
        (PaCaTiny, {"clustering": "teacher"}),
        (PaCaBase, {"clustering": "mlp"}),
        (PaCaSmall, {"cluster_every": 1}),
        (PaCaSmall, {"cluster_every": 2, "clusters": 100}),
        (PaCaTiny, {"clusters": 100}),
        (PaCaTiny, {"clusters": 0}),
    ],
)
def test_combinations_nobody_released(factory, options):
    with pytest.raises(ValueError, match="Nobody released") as error:
        factory(**options)
    assert str(error.value).count("clustering=") == 1 + 12  # all that exist


def test_which_file_is_chosen():
    def name(size, clustering="conv", clusters=None, every=None):
        options = {"clustering": clustering, "clusters": clusters, "cluster_every": every}
        file = loading.choose_file(PaCaViT, size, loading.CLASSIFICATION, options).file
        return file.removeprefix("IMNET_224_pacavit_").removesuffix(".pth")

    assert name("tiny") == "tiny_p2cconv_100_0"
    assert name("small") == "small_p2cconv_100_0"
    assert name("small", "mlp") == "small_p2cmlp_100_0"
    assert name("small", "teacher") == "convmixer_small_100"
    assert name("base", "teacher") == "convmixer_base_100"
    assert name("small", clusters=(49, 49, 49, 0)) == "small_p2cconv_49_0"
    assert name("small", clusters=[2, 2, 2, 0]) == "small_p2cconv_2_0"
    assert name("small", clusters=100) == "small_p2cconv_100"
    assert name("small", clusters=100, every=1) == "small_p2cconv_100_blockwise"
    assert name("small", clusters=(50, 60, 70, 0)) == "small_p2cconv_100_0"
    assert name("tiny", clusters=(7, 7, 7, 0)) == "tiny_p2cconv_100_0"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server of a folder, as mirror of the released files, and an empty cache."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    with served(folder) as url:
        monkeypatch.setenv("KERAS_PACA_WEIGHTS_URL", url)
        yield folder


def test_imagenet_from_a_mirror(mirror, tiny_file, expected):
    (mirror / tiny_file.name).write_bytes(tiny_file.read_bytes())
    options = {"include_preprocessing": False, "classifier_activation": None}
    assert _logits(PaCaTiny(**options), expected) < official.BAR
    (mirror / tiny_file.name).unlink()
    assert _logits(PaCaTiny(**options), expected) < official.BAR  # from the cache
    with pytest.warns(UserWarning, match="clusters, not"):
        model = PaCaTiny(clusters=(10, 100, 100, 0))
    assert model.get_config()["clusters"] == (10, 100, 100, 0)


def test_weights_url_argument(mirror, tiny_file, monkeypatch):
    (mirror / tiny_file.name).write_bytes(tiny_file.read_bytes())
    url = os.environ["KERAS_PACA_WEIGHTS_URL"]
    monkeypatch.delenv("KERAS_PACA_WEIGHTS_URL")
    PaCaTiny(weights_url=url, include_top=False)


def test_file_that_is_not_what_its_row_says(mirror):
    """The README's contradicting link would serve other clusters under this name."""
    tensors = released_tensors("tiny", clusters=(100, 81, 64, 0))
    write_released(mirror / released_files()[0].file, tensors)
    with pytest.raises(
        ValueError, match=r"should have clusters=\(100, 100, 100, 0\) and has \(100, 81, 64, 0\)"
    ):
        PaCaTiny()
    whole = released_tensors("tiny")
    for wrong, message in (
        ({k: v for k, v in whole.items() if k != "norm1.weight"}, r"Missing: \['norm1.weight'\]"),
        ({**whole, "more": whole["norm1.weight"]}, r"unexpected: \['more'\]"),
    ):
        write_released(mirror / released_files()[0].file, wrong)
        with pytest.raises(ValueError, match=message):
            PaCaTiny()
    write_released(mirror / released_files()[0].file, whole)  # nothing of the wrong ones was kept
    PaCaTiny()


def test_three_channels_before_any_download(mirror):
    with pytest.raises(ValueError, match="take 3 channels"):
        PaCaTiny(include_preprocessing=False, input_shape=(None, None, 4))


def test_bad_options_before_any_download(mirror):
    with pytest.raises(ValueError, match=r"(must be one of|Nobody released)"):
        PaCaTiny(clustering="slots")
    with pytest.raises(ValueError, match="sides from 32"):
        PaCaTiny(input_shape=(16, 16, 3))
