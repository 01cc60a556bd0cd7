"""COCO's metrics: by hand, through a model, in training, from files."""

import json
import math
import sys

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

from keras_paca.detection import (
    COCOMetrics,
    MaskRCNN,
    coco_metrics,
    evaluate_coco,
    evaluate_detections,
    read_coco,
)
from keras_paca.detection.predict import pad_image
from keras_paca.preprocessing.whole import resize_bilinear, resized_size
from tests.marks import slow_but_on_torch

SIZE = (60, 80)
convert = keras.utils.bounding_boxes.convert_format


def objects(boxes, labels, size=SIZE):
    """Return the truth of one image with rectangles as masks."""
    masks = np.zeros((1, len(boxes), *size), bool)
    for mask, (left, top, right, bottom) in zip(masks[0], boxes, strict=True):
        mask[top:bottom, left:right] = True
    boxes = np.array(boxes, "float32").reshape(1, -1, 4)
    return {"boxes": boxes, "labels": np.array([labels], "int32"), "masks": masks}


def detections(boxes, labels, scores=None, count=4):
    """Return what a detector gives for one image: masks that fill their boxes, then padding."""
    n = len(boxes)
    found = {
        "boxes": np.zeros((1, count, 4), "float32"),
        "scores": np.zeros((1, count), "float32"),
        "labels": np.full((1, count), -1, "int32"),
        "masks": np.zeros((1, count, 28, 28), "float32"),
        "count": np.array([n], "int32"),
    }
    found["boxes"][0, :n] = np.reshape(boxes, (-1, 4))
    found["scores"][0, :n] = np.linspace(0.9, 0.5, n) if scores is None else scores
    found["labels"][0, :n] = labels
    found["masks"][0, :n] = 1
    return found


TWO = [[4, 6, 34, 46], [40, 10, 72, 50]]


def test_perfect_detections():
    metrics = evaluate_detections(objects(TWO, [0, 2]), detections(TWO, [0, 2]), SIZE)
    names = ["mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large"]
    names += ["AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]
    assert list(metrics) == [f"{kind}_{name}" for kind in ("box", "mask") for name in names]
    for name, value in metrics.items():
        if name.endswith(("small", "large")):
            assert math.isnan(value)  # both are medium
        else:
            assert value == pytest.approx(1)


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        # Of two objects one is found: precision 1 at the 51 of 101 recalls up to 0.5.
        ([TWO[0]], [1], {"mAP": 51 / 101, "mAP50": 51 / 101, "AR100": 0.5}),
        # A wrong one ranks first: precision 1/2 at 51 recalls, then 2/3 everywhere.
        ([[0, 0, 9, 9], *TWO], [1, 1, 1], {"mAP": 2 / 3, "AR1": 0, "AR100": 1}),
        (TWO, [0, 0], {"mAP": 0, "AR100": 0}),
        ([], [], {"mAP": 0, "mAP75": 0, "AR100": 0}),
        # 30 x 24 of 30 x 40 and 32 x 24 of 32 x 40 pixels: 0.6 counts at 0.5, 0.55 and 0.6.
        ([[4, 6, 34, 30], [40, 10, 72, 34]], [1, 1], {"mAP": 0.3, "mAP50": 1, "mAP75": 0}),
    ],
    ids=["one of two", "wrong one first", "other class", "none", "overlap of 0.6"],
)
def test_by_hand(boxes, labels, expected):
    metrics = evaluate_detections(objects(TWO, [1, 1]), detections(boxes, labels), SIZE)
    for kind in ("box", "mask"):
        for name, value in expected.items():
            assert metrics[f"{kind}_{name}"] == pytest.approx(value, abs=1e-6), (kind, name)


def test_masks_decide_for_themselves():
    """Right boxes with empty masks."""
    found = detections(TWO, [1, 1])
    found["masks"][...] = 0
    metrics = evaluate_detections(objects(TWO, [1, 1]), found, SIZE)
    assert (metrics["box_mAP"], metrics["mask_mAP"]) == (pytest.approx(1), 0)


def test_kinds_of_masks():
    truth, found = objects(TWO, [0, 1]), detections(TWO, [0, 0])
    expected = evaluate_detections(truth, found, SIZE)
    numbers = np.array([1, 2])[:, None, None]
    for masks in (
        truth["masks"].astype("uint8"),
        (truth["masks"] * numbers).sum(axis=1).astype("int32"),
    ):
        np.testing.assert_equal(
            evaluate_detections({**truth, "masks": masks}, found, SIZE), expected
        )
    del truth["masks"]
    alone = evaluate_detections({"classes": truth.pop("labels"), **truth}, found, SIZE)
    assert alone == pytest.approx({k: v for k, v in expected.items() if "box" in k}, nan_ok=True)


@pytest.mark.parametrize("kind", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats_of_boxes(kind):
    truth, found = objects(TWO, [1, 1]), detections(TWO[:1], [1])
    expected = evaluate_detections(truth, found, SIZE)
    for arrays in (truth, found):
        boxes = convert(arrays["boxes"], "xyxy", kind, *SIZE)
        arrays["boxes"] = keras.ops.convert_to_numpy(boxes)
    metrics = evaluate_detections(truth, found, SIZE, bounding_box_format=kind)
    assert metrics == pytest.approx(expected, nan_ok=True)


def test_what_is_no_object():
    """Padding, unknown classes, boxes outside the image or the wrong way round."""
    boxes = [*TWO, [90, 5, 99, 9], [30, 20, 10, 40], TWO[0]]
    truth = objects(boxes, [0, 2, 1, 1, 3])
    metrics = evaluate_detections(truth, detections(TWO, [0, 2]), SIZE, num_classes=3)
    assert metrics["box_mAP"] == metrics["mask_mAP"] == pytest.approx(1)
    truth["labels"][:] = -1
    for found in (detections(TWO, [0, 2]), detections([], [])):
        assert all(math.isnan(value) for value in evaluate_detections(truth, found, SIZE).values())
    assert math.isnan(evaluate_detections(objects([], []), found, SIZE)["mask_mAP"])


def test_shapes_that_do_not_fit():
    truth, found = objects(TWO, [0, 1]), detections(TWO, [0, 1])
    for wrong in (
        {**truth, "labels": truth["labels"][:, :1]},
        {**truth, "masks": truth["masks"][..., :9]},
        {"boxes": truth["boxes"]},
    ):
        with pytest.raises(ValueError, match="`truth` must hold boxes"):
            evaluate_detections(wrong, found, SIZE)
    with pytest.raises(ValueError, match="`detections` must hold boxes"):
        evaluate_detections(truth, {**found, "scores": found["scores"][0]}, SIZE)
    twice = {name: np.repeat(array, 2, axis=0) for name, array in found.items()}
    with pytest.raises(ValueError, match="1 images with truth, 2 with detections"):
        evaluate_detections(truth, twice, SIZE)


def test_without_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    for call in (
        lambda: evaluate_detections(objects([], []), detections([], []), SIZE),
        lambda: COCOMetrics((np.zeros((1, *SIZE, 3)), objects([], []))),
    ):
        with pytest.raises(ImportError, match=r'pip install ".*\[coco\]"'):
            call()


# --- Through a model --------------------------------------------------------------------------


class Oracle:
    """A detector that recognises an image by its mean colour and knows what is in it.

    Args:
        scenes: pairs of an image (height, width, 3) and {"boxes": (n, 4), "labels": (n,)}.
    """

    def __init__(self, scenes, bounding_box_format="xyxy", num_classes=3, fixed=None):
        self.scenes, self.bounding_box_format = scenes, bounding_box_format
        self.num_classes, self.input_shape = num_classes, (None, *(fixed or (None, None)), 3)
        self.sizes = []

    def predict_on_batch(self, images):
        rows = [self.look(image) for image in keras.ops.convert_to_numpy(images)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def look(self, image):
        self.sizes.append(image.shape[:2])
        # the content ends where the padding's colour begins
        padding = np.abs(image - [123.675, 116.28, 103.53]).max(axis=-1) < 1e-3
        height, width = (~padding).any(axis=1).sum(), (~padding).any(axis=0).sum()
        colour = image[:height, :width].mean(axis=(0, 1))
        original, known = min(
            self.scenes, key=lambda scene: np.abs(scene[0].mean(axis=(0, 1)) - colour).sum()
        )
        scale = np.array([width / original.shape[1], height / original.shape[0]] * 2)
        boxes = np.asarray(known["boxes"]) * scale
        found = detections(boxes, known["labels"])
        boxes = convert(found["boxes"], "xyxy", self.bounding_box_format, *image.shape[:2])
        return {**found, "boxes": keras.ops.convert_to_numpy(boxes)}


@pytest.fixture
def scenes():
    """Images of noise of different brightness, and their truth as one batch."""
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 100, (3, *SIZE, 3)).astype("float32")
    images += np.array([0, 70, 140], "float32")[:, None, None, None]
    truths = [objects(TWO, [0, 1]), objects([TWO[1], TWO[0]], [2, -1]), objects(TWO, [1, 2])]
    targets = {name: np.concatenate([truth[name] for truth in truths]) for name in truths[0]}
    return images, targets


def known(images, targets):
    return [
        (image, {"boxes": boxes[labels >= 0], "labels": labels[labels >= 0]})
        for image, boxes, labels in zip(images, targets["boxes"], targets["labels"], strict=True)
    ]


class Batches(keras.utils.PyDataset):
    def __init__(self, images, targets):
        super().__init__()
        self.images, self.targets = images, targets

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.images[i : i + 1], {k: v[i : i + 1] for k, v in self.targets.items()}


def test_a_model_on_data(scenes):
    """Arrays, tensors, batches and a PyDataset; right, and half right."""
    images, targets = scenes
    model = Oracle(known(*scenes))
    perfect = coco_metrics(model, scenes, batch_size=2)
    assert perfect["box_mAP"] == perfect["mask_mAP"] == pytest.approx(1)
    model.scenes[0][1]["labels"][:] = 2
    expected = coco_metrics(model, scenes)
    assert 0 < expected["box_mAP"] < 1
    tensors = {name: keras.ops.convert_to_tensor(array) for name, array in targets.items()}
    for data in (
        (keras.ops.convert_to_tensor(images), tensors),
        Batches(*scenes),
        [(images[:2], {k: v[:2] for k, v in targets.items()}), Batches(*scenes)[2]],
        iter([scenes]),
    ):
        assert coco_metrics(model, data) == pytest.approx(expected, nan_ok=True)


def test_a_model_with_another_format_of_boxes(scenes):
    images, targets = scenes
    model = Oracle(known(*scenes), "rel_center_xywh")
    boxes = convert(targets["boxes"], "xyxy", "rel_center_xywh", *SIZE)
    metrics = coco_metrics(model, (images, {**targets, "boxes": boxes}))
    assert metrics["box_mAP"] == metrics["mask_mAP"] == pytest.approx(1)


def test_data_that_do_not_fit(scenes):
    images, targets = scenes
    model = Oracle([])
    for data, words in (
        (images, "a pair"),
        ((images[:2], targets), "as many targets"),
        ([], "at least one image"),
        ([(images, targets["boxes"])], "Each batch"),
    ):
        with pytest.raises(ValueError, match=words):
            coco_metrics(model, data)
    with pytest.raises(ValueError, match="Expected a detector"):
        coco_metrics(keras.Sequential(), scenes)
    with pytest.raises(ValueError, match="iterator"):
        COCOMetrics(iter([scenes]))
    for wrong in ({"every": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            COCOMetrics(scenes, **wrong)
    mixed = [scenes, (images, {k: v for k, v in targets.items() if k != "masks"})]
    with pytest.raises(ValueError, match="all batches have masks or none"):
        coco_metrics(Oracle(known(*scenes)), mixed)


@pytest.fixture
def detector(small):
    """Return a function that builds a small detector of three classes."""

    def build(input_shape=None, include_preprocessing=True, **options):
        keras.utils.set_random_seed(1)
        backbone = small(
            include_top=False, input_shape=input_shape, include_preprocessing=include_preprocessing
        )
        settings = {"channels": 16, "proposals": 60, "max_detections": 8, "score_threshold": 0.0}
        return MaskRCNN(backbone, 3, **{**settings, **options})

    return build


@slow_but_on_torch
def test_in_training(detector, scenes, capsys):
    model = detector(bounding_box_format="rel_xyxy", max_detections=60)
    images, targets = scenes
    targets["boxes"][:, 1] = [0, 0, 80, 60]  # which no detector misses altogether
    targets["masks"][:, 1] = True
    targets["boxes"] = keras.ops.convert_to_numpy(
        convert(targets["boxes"], "xyxy", "rel_xyxy", *SIZE)
    )
    data = images.astype("uint8"), targets
    model.compile(keras.optimizers.SGD(1e-4))
    seen, expected = [], {}

    def look(epoch, logs):
        seen.append("val_box_mAP" in logs)
        if seen[-1]:
            expected.update(coco_metrics(model, data, 3))

    callbacks = [COCOMetrics(data, 3, every=2), keras.callbacks.LambdaCallback(on_epoch_end=look)]
    history = model.fit(*data, epochs=3, batch_size=3, verbose=0, callbacks=callbacks).history
    assert seen == [False, True, False]
    assert len(history["loss"]) == 3
    assert len(set(history["loss"])) == 3  # it goes on to learn
    for name, value in expected.items():
        assert history[f"val_{name}"] == pytest.approx([value], abs=1e-3, nan_ok=True)
    assert {"box_mAP", "mask_mAP50"} < set(expected)
    assert history["val_box_AR100"][0] > 0
    assert capsys.readouterr().out == ""


# --- Files ------------------------------------------------------------------------------------

CATEGORIES = [7, 1, 90]  # in the file's order; label 1 is 7


@pytest.fixture
def coco_files(tmp_path):
    """Return the paths of an annotation file and its images, and what is in them."""
    pictures = [
        (
            "astronaut.png",
            skimage.data.astronaut()[:300],
            [[100, 0, 250, 200], [300, 50, 420, 260]],
        ),
        ("cat.png", skimage.data.chelsea()[:, :200], [[60, 60, 200, 300]]),
        ("coffee.png", skimage.data.coffee(), [[70, 90, 430, 380], [20, 20, 60, 50]]),
    ]
    folder = tmp_path / "images"
    folder.mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": i} for i in CATEGORIES]}
    scenes = []
    for number, (name, image, boxes) in enumerate(pictures):
        Image.fromarray(image).save(folder / name)
        height, width = image.shape[:2]
        content["images"].append(
            {"id": 10 * number, "file_name": name, "height": height, "width": width}
        )
        labels = [(number + i) % 3 for i in range(len(boxes))]
        scenes.append((image, {"boxes": boxes, "labels": labels}))
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            size = (right - left) * (bottom - top)
            content["annotations"].append({
                "id": len(content["annotations"]), "image_id": 10 * number, "iscrowd": 0,
                "category_id": sorted(CATEGORIES)[label], "area": size,
                "bbox": [left, top, right - left, bottom - top],
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            })  # fmt: skip
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path, folder, content, scenes


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
def test_normalised_images_for_models_that_take_them(coco_files, detector, tmp_path):
    annotations, folder, _, _ = coco_files
    dataset = read_coco(annotations, folder, limit=1)
    results = []
    for include in (True, False):
        model = detector(include_preprocessing=include)
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


# --- The official transform -------------------------------------------------------------------


def test_sizes():
    for size, expected in (
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((427, 640), (800, 1199)),
        ((300, 640), (625, 1333)),
        ((1000, 1000), (800, 800)),
    ):
        assert resized_size(*size, 800, 1333) == expected


def test_bilinear_and_padding():
    image = skimage.data.astronaut()[:50, :70]
    ours = resize_bilinear(image, (80, 112))
    pillow = Image.fromarray(image).resize((112, 80), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow, "float32")).max() <= 1
    # halving without antialiasing: the mean of the two nearest pixels on each axis
    half = resize_bilinear(image, (25, 35))
    mean = image.reshape(25, 2, 35, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - mean).max() <= 0.5
    padded = pad_image(ours, 32)
    assert padded.shape == (96, 128, 3)
    np.testing.assert_array_equal(padded[:80, :112], ours)
    np.testing.assert_allclose(
        padded[80:], np.broadcast_to([123.675, 116.28, 103.53], (16, 128, 3))
    )
