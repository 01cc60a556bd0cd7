"""Released segmentation and detection checkpoints into models: what loads and what is refused."""

import functools
import inspect

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import RapidNetM, detection, segmentation, weights
from keras_paca.backbones.convert import official_tensors
from keras_paca.backbones.loading import load_weights
from keras_paca.segmentation.checkpoints import SEGMENTATION
from keras_paca.weights import released_files
from tests.dense_stand_ins import build, official_checkpoint
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.parity import dense, official
from tests.served import served
from tests.stand_ins import released_tensors, write_released

pytestmark = slow_but_on_torch


DENSE = [
    file
    for file in released_files()
    if (file.family, file.task != "classification") == ("paca_vit", True)
]


# What the official README states otherwise than its own configurations have it, in millions.
MISSTATED = {
    "mask_rcnn_pacavit_convmixer_base_100_0_mstrain_480_800_1x_coco.pth": 67.35,
    "mask_rcnn_pacavit_small_p2cconv_2_0_mstrain_480_800_1x_coco.pth": 41.75,
    "upernet_pacavit_small_p2cconv_49_0_512x512_160k_ade20k.pth": 23.16,
    "upernet_pacavit_small_p2cconv_49_100_512x512_160k_ade20k.pth": 23.41,
    "upernet_pacavit_small_p2cconv_100_49_512x512_160k_ade20k.pth": 23.41,
}


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.file, marks=[] if file.size == "tiny" else pytest.mark.slow)
        for file in DENSE
    ],
)
def test_parameters_of_every_released_file(file):
    """Beside the official README's."""
    millions = dense.parameters(build(file)) / 1e6
    assert millions == pytest.approx(MISSTATED.get(file.file, file.params_m), abs=0.06)


FILES = {"semantic_fpn_RapidNet_M": "RapidNet_M_Sem_Seg.pth"}  # of the cases with other names
RELEASED = [name for name in dense.SEGMENTERS if "vittm" not in name]
CASES = [
    pytest.param(name, marks=pytest.mark.slow if "upernet" in name else [])
    for name in (*RELEASED, *dense.DETECTORS)
]


def case_model(name, **options):
    function, arguments = detection.PaCaTinyMaskRCNN, {}
    if name not in dense.DETECTORS:
        function, arguments = dense.SEGMENTERS[name]
    return function(**{"include_preprocessing": False, **arguments, **options})


@pytest.fixture(params=CASES)
def released(request, tmp_path, monkeypatch):
    """Serve a case's checkpoint under the released file's name; return (case, file, folder)."""
    name = request.param
    (file,) = (x for x in released_files() if x.file.startswith(FILES.get(name, name)))
    _, checkpoint, _ = official.case(name)
    folder = tmp_path / "mirror"
    folder.mkdir()
    write_released(folder / file.file, checkpoint)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return name, file, folder


def test_named_weights_come_from_a_server(released):
    name, file, folder = released
    named = "coco" if file.task == "detection" else "ade20k"
    with served(folder) as url:
        model = case_model(name, weights=named, weights_url=url)
    _, checkpoint, _ = official.case(name)
    found = official_checkpoint(model)
    assert {k for k in checkpoint if not k.endswith("num_batches_tracked")} == found.keys()
    for key, array in found.items():
        np.testing.assert_array_equal(array, checkpoint[key])


@pytest.mark.parametrize("factory", [detection.PaCaTinyMaskRCNN, segmentation.PaCaTinySegmenter])
def test_weights_of_the_backbone_alone(factory, tmp_path, monkeypatch):
    """ "imagenet" fills the backbone; the heads are fresh, of any number of classes."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (file,) = (
        file
        for file in released_files()
        if (file.task, file.size, file.clustering) == ("classification", "tiny", "conv")
    )
    tensors = released_tensors("tiny")
    write_released(tmp_path / file.file, tensors)
    with served(tmp_path) as url:
        model = factory(weights="imagenet", weights_url=url, num_classes=7)
    assert model.num_classes == 7
    found = official_tensors(model.backbone)
    assert len(found) > 100
    for key, array in found.items():
        np.testing.assert_array_equal(array, tensors[key])


def test_path_and_saved_model(released, tmp_path):
    name, file, folder = released
    model = case_model(name, weights=folder / file.file)
    assert model.backbone.get_config().get("clusters", ()) == file.clusters
    model.save(tmp_path / "saved.keras")
    again = case_model(name, weights=tmp_path / "saved.keras")
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_other_classes_start_fresh(released):
    name, file, folder = released
    with pytest.warns(UserWarning, match="not made for 7 classes") as caught:
        model = case_model(name, weights=folder / file.file, num_classes=7)
    assert caught[0].filename == __file__
    _, checkpoint, _ = official.case(name)
    found = official_checkpoint(model)
    same = [key for key, array in found.items() if np.array_equal(array, checkpoint[key])]
    other = set(found) - set(same)
    assert other
    assert all(
        any(part in key for part in ("seg", "clustering.1", "fc_", "logits")) for key in other
    )


def test_a_classifier_is_no_dense_checkpoint(tmp_path):
    tensors = official_tensors(detection.PaCaTinyMaskRCNN(weights=None).backbone)
    write_released(tmp_path / "classifier.pth", tensors)
    with pytest.raises(ValueError, match="no segmentation checkpoint"):
        segmentation.PaCaTinySegmenter(weights=tmp_path / "classifier.pth")
    with pytest.raises(ValueError, match="no detection checkpoint"):
        detection.PaCaTinyMaskRCNN(weights=tmp_path / "classifier.pth")


def test_what_nobody_released():
    with pytest.raises(ValueError, match="Nobody released ADE20K weights"):
        segmentation.PaCaTinySegmenter("fpn")
    with pytest.raises(ValueError, match="Nobody released COCO weights"):
        detection.PaCaTinyMaskRCNN(clustering="teacher")
    with pytest.raises(FileNotFoundError):
        segmentation.PaCaTinySegmenter(weights="nowhere.pth")


def test_unknown_keys_are_refused(released):
    name, _, folder = released
    _, checkpoint, _ = official.case(name)
    write_released(folder / "odd.pth", {**checkpoint, "extra.weight": np.zeros(3, "float32")})
    with pytest.raises(ValueError, match=r"extra\.weight"):
        case_model(name, weights=folder / "odd.pth")


@pytest.mark.parametrize(
    ("held", "wanted"),
    [("upernet", "paca"), pytest.param("paca", "upernet", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("suffix", [".pth", ".keras"])
def test_another_head_is_a_mismatch(held, wanted, suffix, tmp_path):
    model = segmentation.PaCaTinySegmenter(held, weights=None, clusters=100)
    path = tmp_path / f"file{suffix}"
    if suffix == ".pth":
        write_released(path, official_checkpoint(model))
    else:
        model.save(path)
    with pytest.raises(ValueError, match="does not fit this model"):
        segmentation.PaCaTinySegmenter(wanted, weights=path)


# --- Arguments --------------------------------------------------------------------------------


def test_options_of_the_top_are_left_out():
    """A segmenter has no classifiers, so that `dropout` would look like that of its head."""
    for function in (segmentation.RapidNetMSegmenter, detection.RapidNetMMaskRCNN):
        parameters = inspect.signature(function).parameters
        assert {"drop_path_rate", "remat"} <= parameters.keys()
        assert not {"dropout", "distillation"} & parameters.keys()
        with pytest.raises(TypeError, match="unexpected keyword argument 'dropout'"):
            function(weights=None, dropout=0.9)
    assert "dropout" in inspect.signature(segmentation.PaCaTinySegmenter).parameters  # of blocks
    assert "dropout" in inspect.signature(RapidNetM).parameters


@pytest.mark.parametrize(
    ("function", "file"),
    [
        (segmentation.RapidNetMSegmenter, "RapidNet_M_Sem_Seg.pth"),
        (detection.RapidNetBMaskRCNN, "RapidNet_B_Detection.pth"),
    ],
)
def test_averaged_weights_that_no_file_has(function, file):
    """Before a download, of which the address here has none."""
    with pytest.raises(ValueError, match=f"{file} isn't known to hold .* Received: ema=True"):
        function(ema=True, weights_url="http://127.0.0.1:9/")
    with pytest.raises(ValueError, match=r"`ema=True` needs a file .* weights=None, ema=True"):
        function(weights=None, ema=True)


@pytest.mark.parametrize("head", ["uperformer", 3, None])
def test_unknown_head(head):
    words = r"`head` must be one of \['paca', 'upernet', 'fpn', 'mask_transformer'\] or a head"
    with pytest.raises(ValueError, match=words):
        segmentation.RapidNetMSegmenter(head)


def test_names_of_what_was_released():
    with pytest.raises(ValueError, match="Nobody released ADE20K weights for") as error:
        segmentation.RapidNetMSegmenter("upernet")
    assert str(error.value) == (
        "Nobody released ADE20K weights for rapidnet_m_segmenter, head='upernet'. Pass "
        "`weights=None` or use one of:\n"
        "  rapidnet_m_segmenter, head='fpn'\n"
        "  rapidnet_b_segmenter, head='fpn'"
    )


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (segmentation.RapidNetMSegmenter, '"ade20k", "imagenet", None or the path of a file'),
        (detection.RapidNetMMaskRCNN, '"coco", "imagenet", None or the path of a file'),
        (RapidNetM, '"imagenet", None or the path of a file'),
    ],
)
def test_weights_that_are_no_file(function, named):
    start = f"`weights` must be {named}. "
    with pytest.raises(FileNotFoundError, match=f"{start}There is no file at 'imagent'"):
        function(weights="imagent")
    with pytest.raises(ValueError, match=f"{start}Received: weights=3"):
        function(weights=3)


# --- ViTTM ------------------------------------------------------------------------------------

VITTM = "segmenter_vittm_small_16_32"


@pytest.fixture
def official_vittm(tmp_path):
    """Return the path of the case's checkpoint, its tensors, and the function of its segmenter."""
    _, checkpoint, _ = official.case(VITTM)
    write_released(tmp_path / "vittm.pth", checkpoint)
    function, arguments = dense.SEGMENTERS[VITTM]
    return tmp_path / "vittm.pth", checkpoint, functools.partial(function, **arguments)


def test_vittm_from_an_official_file(official_vittm, tmp_path):
    """What the head doesn't need of the backbone is loaded and saved as well."""
    path, checkpoint, build_vittm = official_vittm
    model = segmentation.ViTTMSmallSegmenter(weights=path)  # the file has the sizes
    assert model.evaluation_transform["window_size"] == 512
    found = official_checkpoint(model)
    for key, array in found.items():
        np.testing.assert_array_equal(array, checkpoint[key])
    description, _, _ = official.case(VITTM)
    same = {first for first, _ in description["same_tensor"]}  # under two names
    assert checkpoint.keys() - found.keys() <= {*description["unused_keys"], *same}
    assert any("write_head.11.q" in key for key in found)
    model.save(tmp_path / "saved.keras")
    again = build_vittm(weights=tmp_path / "saved.keras")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_vittm_of_other_classes(official_vittm, tmp_path):
    path, checkpoint, build_vittm = official_vittm
    with pytest.warns(UserWarning, match="not made for 7 classes"):
        model = build_vittm(weights=path, num_classes=7)
    found = official_checkpoint(model)
    fresh = {"cls_emb", "mask_norm.weight", "mask_norm.bias"}
    for key, array in found.items():
        is_fresh = key.removeprefix("decode_head.") in fresh
        assert is_fresh or np.array_equal(array, checkpoint[key])
    model.save(tmp_path / "saved.keras")
    with pytest.warns(UserWarning, match="not made for 3 classes"):
        again = build_vittm(weights=tmp_path / "saved.keras", num_classes=3)
    for key, array in official_checkpoint(again).items():
        is_fresh = key.removeprefix("decode_head.") in fresh
        assert array.shape != found[key].shape if is_fresh and array.ndim == 3 else True
        assert is_fresh or np.array_equal(array, found[key])


def test_vittm_is_strict(official_vittm, tmp_path):
    _, checkpoint, build_vittm = official_vittm
    gone = "decode_head.layers.1.attn.attn.in_proj_weight"
    without = {key: array for key, array in checkpoint.items() if key != gone}
    for tensors, message in (
        ({**checkpoint, "decode_head.odd": np.zeros(3, "float32")}, r"decode_head\.odd"),
        ({**checkpoint, "backbone.odd": np.zeros(3, "float32")}, r"backbone\.odd"),
        (without, r"in_proj_weight"),
    ):
        write_released(tmp_path / "odd.pth", tensors)
        with pytest.raises(ValueError, match=message):
            build_vittm(weights=tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("patches", "side"), [((None, None), 504), ((16, 32), 512), ((16, 28), 448)]
)
def test_vittm_by_default(patches, side):
    memory, process = patches
    model = segmentation.ViTTMSmallSegmenter(
        num_classes=3, memory_patch_size=memory, process_patch_size=process
    )
    config = model.backbone.get_config()
    assert (config["image_size"], config["normalization"]) == ((side, side), "symmetric")
    windows = {"window_size": side, "stride": min(480, side)}
    assert model.evaluation_transform == {"short_side": side, "long_side": 2048, **windows}
    layer = model.get_layer("preprocessing")
    grey = np.full((1, 32, 32, 3), [0.0, 127.5, 255.0], "float32")
    found = keras.ops.convert_to_numpy(layer(grey))
    np.testing.assert_allclose(found[0, 0, 0], [-1, 0, 1], atol=1e-6)


def test_vittm_that_nobody_released():
    with pytest.raises(ValueError, match="Nobody released ADE20K weights"):
        segmentation.ViTTMBaseSegmenter(weights="ade20k")
    with pytest.raises(ValueError, match="Missing: P2, P3, P4, P5"):
        segmentation.ViTTMSmallSegmenter("fpn")


def small_vittm(image_size, **options):
    """Return a segmenter on a small ViTTM."""
    backbone = keras_paca.ViTTM(16, 2, depth=1, image_size=image_size, include_top=False, **options)
    return randomise(segmentation.Segmenter(backbone, "mask_transformer", num_classes=3))


@pytest.mark.parametrize("is_official", [True, False])
def test_vittm_at_another_image_size(is_official, tmp_path):
    trained, model = small_vittm(56), small_vittm((84, 112))
    if is_official:
        checkpoint = weights.Checkpoint("file.pth", True, official_checkpoint(trained))
    else:
        trained.save(tmp_path / "file.keras")
        checkpoint = weights.open_checkpoint(tmp_path / "file.keras")
    load_weights(model, checkpoint, True, SEGMENTATION)
    x = np.random.default_rng(0).uniform(0, 255, (1, 84, 112, 3)).astype("float32")
    assert error(model(x), trained(x)) <= 1e-5


def test_files_without_a_head(tmp_path):
    """One sentence for a saved backbone as for an official one, not a list of what is missing."""
    model = small_vittm(56)
    model.backbone.save(tmp_path / "file.keras")
    checkpoint = weights.open_checkpoint(tmp_path / "file.keras")
    with pytest.raises(ValueError, match=r"is no segmentation checkpoint.* Give a backbone"):
        load_weights(model, checkpoint, task=SEGMENTATION)
