"""Detectors on files in COCO's format: what is measured, written and refused."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_paca
from keras_paca.detection import (
    MaskRCNN,
    evaluate_coco,
    read_coco,
)
from keras_paca.segmentation import Segmenter
from tests.detection.annotations import IMAGE, OBJECT, Blind, write
from tests.detection.scenes import Oracle
from tests.marks import slow_but_on_torch


def reloaded(annotations, results, kind):
    """Return what pycocotools itself says of files."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(annotations))
    for entry in truth.dataset["annotations"]:
        entry["id"] += 1  # it takes 0 for nothing found
    truth.createIndex()
    records = json.loads(results.read_text())
    if kind == "segm":
        records = [{k: v for k, v in record.items() if k != "bbox"} for record in records]
    evaluation = COCOeval(truth, truth.loadRes(records), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("pad_to", [None, 352])
@pytest.mark.parametrize("kind", ["xyxy", "rel_yxyx"])
def test_coco_files(kind, pad_to, coco_files, tmp_path):
    """What a perfect detector sees at another scale lies in the original images' pixels."""
    annotations, folder, content, scenes = coco_files
    fixed = None if pad_to is None else (pad_to, pad_to)
    model, output = Oracle(scenes, kind, fixed=fixed), tmp_path / "results.json"
    metrics = evaluate_coco(
        model, read_coco(annotations, folder), output, short_side=200, long_side=330, pad_to=pad_to
    )
    padded = [(224, 352), (320, 224), (224, 320)] if pad_to is None else [(352, 352)] * 3
    assert model.sizes == padded
    records = json.loads(output.read_text())
    assert not list(tmp_path.glob("*.partial"))
    assert len(records) == len(content["annotations"])
    for record, entry in zip(records, content["annotations"], strict=True):
        assert record["image_id"] == entry["image_id"]
        assert record["category_id"] == entry["category_id"]
        np.testing.assert_allclose(record["bbox"], entry["bbox"], atol=0.01)
        image = content["images"][entry["image_id"] // 10]
        assert record["segmentation"]["size"] == [image["height"], image["width"]]
    assert metrics["box_mAP"] == pytest.approx(1)
    assert metrics["mask_mAP"] > 0.9  # a mask of 28 x 28 ends inside its box's corners
    assert metrics["box_AR_small"] != metrics["box_AR_small"]
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        ours = [value for key, value in metrics.items() if key.startswith(name)]
        stats = reloaded(annotations, output, kind)
        np.testing.assert_allclose(ours, np.where(stats < 0, np.nan, stats))


def test_boxes_end_at_the_image(coco_files, tmp_path):
    annotations, folder, _, scenes = coco_files
    scenes[1][1]["boxes"] = [[60, 60, 210, 310], [-9, -5, 300, 400]]
    scenes[1][1]["labels"] = [1, 1]
    output = tmp_path / "results.json"
    evaluate_coco(Oracle(scenes), read_coco(annotations, folder), output, 200, 330)
    found = [r["bbox"] for r in json.loads(output.read_text()) if r["image_id"] == 10]
    np.testing.assert_allclose(found, [[60, 60, 140, 240], [0, 0, 200, 300]], atol=0.01)


def test_limit_crowds_and_boxes_alone(coco_files):
    annotations, folder, content, scenes = coco_files
    for entry in content["annotations"]:
        del entry["segmentation"]
        if entry["id"] == 1:
            entry["iscrowd"] = 1
        else:
            del entry["iscrowd"]
    annotations.write_text(json.dumps(content))
    scenes[0][1]["boxes"], scenes[0][1]["labels"] = scenes[0][1]["boxes"][:1], [0]
    model = Oracle(scenes)
    metrics = evaluate_coco(model, read_coco(annotations, folder, 1), None, 64, 96)
    assert len(model.sizes) == 1
    assert not any("mask" in name for name in metrics)
    assert metrics["box_mAP"] == pytest.approx(1)  # a crowd need not be found


@slow_but_on_torch
def test_normalised_images_for_models_that_take_them(coco_files, detector_of_three, tmp_path):
    annotations, folder, _, _ = coco_files
    dataset = read_coco(annotations, folder, limit=1)
    results = []
    for include in (True, False):
        model = detector_of_three(include_preprocessing=include)
        output = tmp_path / f"{include}.json"
        evaluate_coco(model, dataset, output, 64, 96)
        results.append(json.loads(output.read_text()))
    assert len(results[0]) > 3
    for first, second in zip(*results, strict=True):
        assert first["score"] == pytest.approx(second["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("categories"), "without the list categories"),
        (lambda c: c["images"].clear(), "without images"),
        (lambda c: c["images"][0].pop("height"), "image with id 0: `height` is missing"),
        (
            lambda c: c["annotations"][0].update(area="big"),
            'annotation with id 0: `area` must be .*is "big"',
        ),
        (lambda c: c["annotations"][0].update(image_id=5), "the unknown image 5"),
        (lambda c: c["annotations"][0].update(category_id=5), "unknown category 5"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "`bbox` must be four numbers"),
        (lambda c: c["annotations"][0].pop("segmentation"), "some objects and not of others"),
        (lambda c: c["images"].append(c["images"][0]), "image with id 0: its id occurs twice"),
    ],
)
def test_files_in_no_format(change, words, coco_files):
    annotations, folder, content, _ = coco_files
    change(content)
    annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        read_coco(annotations, folder)


def test_other_bad_files(coco_files, tmp_path):
    annotations, folder, _, scenes = coco_files
    dataset = read_coco(annotations, folder)
    with pytest.raises(ValueError, match=r"of 80 categories.*Received: 3"):
        evaluate_coco(Oracle(scenes, num_classes=80), dataset)
    with pytest.raises(ValueError, match="images of any size"):
        evaluate_coco(Oracle(scenes, fixed=(64, 64)), dataset)
    with pytest.raises(ValueError, match="`pad_to` must be at least"):
        evaluate_coco(Oracle(scenes), dataset, pad_to=800)
    with pytest.raises(ValueError, match="`short_side` must be"):
        evaluate_coco(Oracle(scenes), dataset, short_side=99, long_side=64)
    with pytest.raises(FileNotFoundError, match=r"folder for results\.json"):
        evaluate_coco(Oracle(scenes), dataset, tmp_path / "none" / "results.json")
    with pytest.raises(ValueError, match="Received a folder"):
        evaluate_coco(Oracle(scenes), dataset, tmp_path)
    with pytest.raises(ValueError, match="`limit` must be"):
        read_coco(annotations, folder, 0)
    for place in ((tmp_path / "none.json", folder), (annotations, tmp_path / "none")):
        with pytest.raises(FileNotFoundError, match="none"):
            read_coco(*place)
    for text in ("{", "[]"):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="in COCO's format"):
            read_coco(tmp_path / "other.json", folder)
    Image.new("RGB", (10, 20)).save(folder / "cat.png")
    with pytest.raises(ValueError, match=r"300 x 200 pixels.*20 x 10"):
        evaluate_coco(Oracle(scenes), dataset, tmp_path / "results.json", 64, 96)
    assert not (tmp_path / "results.json").exists()
    (folder / "cat.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 are missing, first .*cat\.png"):
        read_coco(annotations, folder)


# --- The images -------------------------------------------------------------------------------


def picture(path, size, orientation=None, seed=0):
    """Save a picture (height, width), with an EXIF orientation; return its pixels upright."""
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), "uint8")
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    turns = {None: 0, 1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    return np.rot90(pixels, turns), pixels


@slow_but_on_torch
@pytest.mark.parametrize(
    ("stored", "orientation", "annotated", "turned"),
    [
        ((64, 96), None, (64, 96), False),
        ((64, 96), 3, (64, 96), False),
        ((64, 96), 6, (64, 96), False),
        ((64, 64), 6, (64, 64), False),
        ((96, 64), 6, (64, 96), True),
        ((96, 64), 8, (64, 96), True),
        ((64, 96), 6, (96, 64), True),
    ],
)
def test_orientation(stored, orientation, annotated, turned, tmp_path):
    """The size in the annotations decides whether the camera's orientation counts."""
    upright, pixels = picture(tmp_path / "a.png", stored, orientation)
    image = {**IMAGE, "height": annotated[0], "width": annotated[1]}
    dataset = read_coco(*write(tmp_path, [image]))
    model = Blind()
    if turned:
        with pytest.warns(UserWarning, match=r"1 of 1 images.*EXIF.*a\.png"):
            evaluate_coco(model, dataset, None, min(annotated), max(annotated))
    else:
        evaluate_coco(model, dataset, None, min(annotated), max(annotated))
    np.testing.assert_array_equal(model.images[0], upright if turned else pixels)


@slow_but_on_torch
def test_one_warning_for_all_sideways_images(tmp_path):
    images = []
    for i, (size, orientation) in enumerate([((64, 96), None), ((96, 64), 6), ((96, 64), 8)]):
        picture(tmp_path / f"{i}.jpg", size, orientation)
        images.append({**IMAGE, "id": i, "file_name": f"{i}.jpg"})
    dataset = read_coco(*write(tmp_path, images, [{**OBJECT, "image_id": 0}]))
    with pytest.warns(UserWarning, match=r"2 of 3 images.*first 1\.jpg") as caught:
        evaluate_coco(Blind(), dataset, None, 64, 96)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@slow_but_on_torch
def test_images_that_do_not_fit(tmp_path):
    """All are named before the first one is predicted."""
    names = ("good", "turned", "small", "broken", "cut")
    images = [{**IMAGE, "id": 10 + i, "file_name": f"{n}.png"} for i, n in enumerate(names)]
    picture(tmp_path / "good.png", (64, 96))
    picture(tmp_path / "turned.png", (96, 64))
    picture(tmp_path / "small.png", (32, 48), 6)
    (tmp_path / "broken.png").write_text("no picture")
    picture(tmp_path / "cut.png", (64, 96))
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    dataset = read_coco(*write(tmp_path, images, [{**OBJECT, "image_id": 10}]))
    model = Blind()
    with pytest.raises(ValueError, match="3 of 5 that don't fit") as refusal:
        evaluate_coco(model, dataset)
    assert not model.images
    for words in (
        r"id 11 must have 64 x 96 pixels \(height x width\), and .*turned\.png has 96 x 64",
        r"id 12 must have 64 x 96 .*small\.png has 32 x 48",
        r"id 13 can't be opened.*broken\.png",
    ):
        refusal.match(words)
    dataset = read_coco(*write(tmp_path, images[-1:], []))
    with pytest.raises(ValueError, match=r"id 14 can't be read.*cut\.png"):
        evaluate_coco(model, dataset, None, 64, 96)


# --- Before the work --------------------------------------------------------------------------


@slow_but_on_torch
def test_outputs_that_can_not_be_written(tmp_path):
    files = write(tmp_path)
    dataset, model = read_coco(*files), Blind()
    for output, error, words in (
        (tmp_path, ValueError, "Received a folder"),
        (tmp_path / "none" / "a.json", FileNotFoundError, "folder for a.json"),
        (tmp_path / "results.csv", ValueError, r"must end in \.json"),
        (files[0], ValueError, "file of the annotations"),
    ):
        with pytest.raises(error, match=words):
            evaluate_coco(model, dataset, output, 64, 96)
    assert not model.images
    for name in ("results.json", "results", "results.JSON"):
        evaluate_coco(model, dataset, str(tmp_path / name), 64, 96)
        assert json.loads((tmp_path / name).read_text()) == []


@slow_but_on_torch
def test_output_in_a_folder_without_permission(tmp_path, monkeypatch):
    dataset, model = read_coco(*write(tmp_path)), Blind()

    def refuse(**_):
        raise PermissionError("Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="`output` can't be written"):
        evaluate_coco(model, dataset, tmp_path / "results.json", 64, 96)
    assert not model.images


@slow_but_on_torch
def test_models_that_are_no_detectors(small, tmp_path):
    dataset = read_coco(*write(tmp_path))
    backbone = small(include_top=False)
    for model, words in (
        ("best.keras", "the path 'best.keras'"),
        (tmp_path, "the path"),
        (small(), "a classifier, a PaCaViT"),
        (backbone, "a backbone, a PaCaViT"),
        (Segmenter(backbone, "fpn", num_classes=2), "a segmenter, a Segmenter"),
        (keras.Sequential(), "a Sequential"),
        (None, "NoneType"),
        (MaskRCNN, "Expected a detector"),
    ):
        with pytest.raises(ValueError, match="Expected a detector") as refusal:
            evaluate_coco(model, dataset)
        refusal.match(words)
        with pytest.raises(ValueError, match=words):
            keras_paca.detection.coco_metrics(model, [])


def evaluate_names(known, names, folder):
    """Evaluate a model of classes with names on categories with names, in reverse in the file."""
    categories = [{"id": 3 * i + 1, "name": name} for i, name in enumerate(names)][::-1]
    model = Blind(len(names))
    model.class_names = known
    return evaluate_coco(model, read_coco(*write(folder, categories=categories)), None, 64, 96)


@slow_but_on_torch
@pytest.mark.parametrize(
    "names",
    [
        ["dog", "cat", "traffic light"],
        ["cat", "traffic light", "bird"],
        ["bird", "cat", "dog"],
        ["apple", "pear", "plum"],
    ],
)
def test_categories_that_are_not_the_classes(names, tmp_path):
    listed = ", ".join(map(repr, names))
    with pytest.raises(ValueError, match=r"\['cat', 'dog', 'traffic light'\]") as refusal:
        evaluate_names(["cat", "dog", "traffic light"], names, tmp_path)
    refusal.match(rf"Received: \[{listed}\]; the first difference is label \d")
    assert "\n" not in str(refusal.value)


@slow_but_on_torch
def test_categories_with_other_names_for_some_classes(tmp_path):
    with pytest.warns(UserWarning, match="1 of 3 categories.*'tv' and 'television'"):
        evaluate_names(["cat", "dog", "tv"], ["cat", "dog", "television"], tmp_path)


@slow_but_on_torch
def test_categories_that_are_the_classes(tmp_path):
    """Also where tools write a name differently, or know none."""
    coco = list(keras_paca.detection.coco_classes())
    for known, names in (
        (coco, coco),
        (coco, [name.title().replace(" ", "_") for name in coco]),
        (["a", "b"], ["b", None]),
        (None, ["b", "a"]),
    ):
        evaluate_names(known, names, tmp_path)


@slow_but_on_torch
def test_other_arguments(tmp_path):
    dataset, model = read_coco(*write(tmp_path)), Blind()
    for wrong in ("a.json", {"images": []}, None, (1, 2)):
        with pytest.raises(ValueError, match="what `read_coco` returned"):
            evaluate_coco(model, wrong)
    for options, words in (
        ({"short_side": "800"}, "`short_side` must be"),
        ({"short_side": 0}, "`short_side` must be"),
        ({"long_side": 99.5}, "`long_side` must be"),
        ({"pad_to": 1333.5}, "`pad_to` must be"),
        ({"pad_to": True}, "`pad_to` must be"),
        ({"progress": 5}, "`progress` must be"),
    ):
        with pytest.raises(ValueError, match=words):
            evaluate_coco(model, dataset, **options)
    for shape, words in (
        ((None, None, None, 1), "one RGB image"),
        ((2, None, None, 3), "one RGB image"),
        ((None, 64, None, 3), "64 x None"),
    ):
        model.input_shape = shape
        with pytest.raises(ValueError, match=words):
            evaluate_coco(model, dataset)
    del type(model).input_shape, model.input_shape  # another object's own affair
    try:
        assert evaluate_coco(model, dataset, None, 64, 96)["box_mAP"] == 0
    finally:
        Blind.input_shape = (None, None, None, 3)


@slow_but_on_torch
def test_detections_that_are_none(tmp_path):
    """Outputs of another form are refused at the first image."""
    dataset = read_coco(*write(tmp_path))
    good = Blind().predict_on_batch(np.zeros((1, 8, 8, 3)))
    found = {**good, "labels": np.zeros((1, 1), int)}
    for outputs, words in (
        ([good], "must be a dict"),
        ({"boxes": good["boxes"], "classes": good["labels"]}, "scores and labels"),
        ({**good, "boxes": np.zeros((1, 1, 5))}, "boxes"),
        ({**found, "labels": np.full((1, 1), 7)}, "less than `num_classes`, 1"),
        ({**found, "boxes": np.full((1, 1, 4), np.nan)}, "boxes .* must be finite"),
        ({**found, "scores": np.full((1, 1), np.nan)}, "scores .* must be finite"),
    ):
        model = Blind()
        model.predict_on_batch = lambda images, outputs=outputs: outputs
        with pytest.raises(ValueError, match=words):
            evaluate_coco(model, dataset, None, 64, 96)
