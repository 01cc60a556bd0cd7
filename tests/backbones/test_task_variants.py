"""Released segmentation and detection checkpoints into models: what loads and what is refused."""

import numpy as np
import pytest

from keras_paca import detection, segmentation
from keras_paca.backbones.convert import official_tensors
from keras_paca.weights import released_files
from tests.dense_stand_ins import build, official_checkpoint
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


CASES = [
    pytest.param(name, marks=pytest.mark.slow if "upernet" in name else [])
    for name in (*dense.SEGMENTERS, *dense.DETECTORS)
]


def case_model(name, **options):
    options = {"include_preprocessing": False, **options}
    if name in dense.DETECTORS:
        return detection.PaCaTinyMaskRCNN(**options)
    return segmentation.PaCaTinySegmenter(dense.SEGMENTERS[name], **options)


@pytest.fixture(params=CASES)
def released(request, tmp_path, monkeypatch):
    """Serve a case's checkpoint under the released file's name; return (case, file, folder)."""
    name = request.param
    (file,) = (file for file in DENSE if file.file.startswith(name))
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
    assert model.backbone.get_config()["clusters"] == file.clusters
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


@pytest.mark.parametrize(("held", "wanted"), [("upernet", "paca"), ("paca", "upernet")])
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
