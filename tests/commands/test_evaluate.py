"""`keras-paca evaluate` for classifiers and segmenters; detectors are in test_cli.py."""

import csv
import dataclasses
import functools
import io
import json

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps

from keras_paca import PaCaViT, cli, evaluation_transform
from keras_paca.detection import MaskRCNN
from keras_paca.labels import imagenet_classes
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.fixture
def classifier(model_file):
    return model_file(class_names=["dark", "other", "bright"])


def test_classifier(run, folder, classifier, tmp_path):
    """The numbers are those of the model's own predictions, whatever the order of the folders."""
    output = tmp_path / "confusion.json"
    status, out, _ = run(
        "evaluate", folder, "--model", classifier, "--output", output, "--batch-size", "5"
    )
    assert status == 0
    model = keras.saving.load_model(classifier)
    counts = np.zeros((3, 3), int)
    for label, name in ((0, "dark"), (2, "bright")):
        for path in sorted((folder / name).iterdir()):
            scores = model.predict(evaluation_transform(path, 48)[None], verbose=0)
            counts[label, scores.argmax()] += 1
    accuracy = np.trace(counts) / 12
    assert f"accuracy             {accuracy:.2%}" in out
    found = json.loads(output.read_text())
    assert found["confusion"] == counts.tolist()
    assert [each["count"] for each in found["classes"]] == [6, 0, 6]
    assert found["classes"][1]["accuracy"] is None
    assert json.loads(run("evaluate", folder, "--model", classifier, "--json")[1]) == found
    rows = run("evaluate", folder, "--model", classifier, "--csv")[1]
    rows = list(csv.DictReader(io.StringIO(rows)))
    assert [int(row["images"]) for row in rows] == [6, 0, 6]
    assert int(rows[0]["bright"]) == counts[0, 2]


def test_folders_that_are_no_classes_of_the_model(run, folder, classifier):
    (folder / "dark").rename(folder / "black")
    status, _, err = run("evaluate", folder, "--model", classifier)
    assert status == 1
    assert "'black'" in err


def write_masks(folder, name, size, seed=0, suffix=".png", palette=False):
    """Write a picture and its mask, ids 0 to 2 and 255; return the mask."""
    draw = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = draw.integers(0, 256, (*size, 3), "uint8")
    Image.fromarray(pixels).save(folder / "images" / f"{name}{suffix}")
    mask = draw.choice([0, 1, 2, 255], size).astype("uint8")
    picture = Image.fromarray(mask)
    if palette:
        picture = picture.convert("P")
        picture.putdata(mask.ravel().tolist())
    picture.save(folder / "masks" / f"{name}.png")
    return mask


def test_segmenter(run, model_file, tmp_path):
    """Against the definition, with logits resized to each mask's size."""
    model = model_file("segmenter")
    masks = {
        "a": write_masks(tmp_path, "a", (40, 60)),
        "deep/b": write_masks(tmp_path, "deep/b", (90, 50), 1, ".jpg", palette=True),
    }
    data = ["evaluate", tmp_path / "images", "--masks", tmp_path / "masks", "--model", model]
    status, out, _ = run(*data)
    assert status == 0
    found = json.loads(run(*data, "--json")[1])
    segmenter = keras.saving.load_model(model)
    counts = np.zeros((3, 3), int)
    for name, mask in masks.items():
        path = next((tmp_path / "images").glob(f"{name}.*"))
        image = np.asarray(Image.open(path)).astype("float32")
        scale = 40 / min(mask.shape)
        size = [int(side * scale + 0.5) for side in mask.shape]
        image = keras.ops.image.resize(image, size, antialias=False, data_format="channels_last")
        logits = segmenter.predict(np.rint(np.asarray(image))[None], verbose=0)
        logits = keras.ops.image.resize(
            logits, mask.shape, antialias=False, data_format="channels_last"
        )
        given = np.asarray(logits)[0].argmax(axis=-1)
        for i in range(3):
            for j in range(3):
                counts[i, j] += ((mask == i) & (given == j)).sum()
    assert found["total"] == counts.sum()
    np.testing.assert_allclose(found["confusion"], counts, atol=3)
    both = np.diag(counts)
    iou = both / (counts.sum(axis=0) + counts.sum(axis=1) - both)
    assert found["mean_iou"] == pytest.approx(iou.mean(), abs=2e-3)
    assert f"mean IoU             {found['mean_iou']:.2%}" in out


@pytest.mark.filterwarnings("default::UserWarning")
def test_pictures_that_fit_only_turned(run, model_file, tmp_path):
    model = model_file("segmenter")
    write_masks(tmp_path, "a", (40, 60))
    exif = Image.Exif()
    exif[274] = 6
    picture = tmp_path / "images" / "a.png"
    data = ["evaluate", tmp_path / "images", "--masks", tmp_path / "masks", "--model", model]
    expected = run(*data, "--json")[1]
    turned = Image.open(picture).transpose(Image.Transpose.ROTATE_90)
    turned.save(picture, exif=exif)
    assert ImageOps.exif_transpose(Image.open(picture)).size == (60, 40)
    status, out, err = run(*data, "--json")
    assert status == 0
    assert "turned upright" in err
    assert out == expected


def save_all(masks, ids):
    """Replace both masks by columns of the ids."""
    for name in "ab":
        columns = np.resize(ids, (40, 60)).astype("uint8")
        Image.fromarray(columns).save(masks / f"{name}.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda masks: (masks / "a.png").unlink(), "mask of the same name"),
        (lambda masks: Image.new("RGB", (60, 40)).save(masks / "a.png"), "replace its colours"),
        (lambda masks: Image.new("L", (40, 60)).save(masks / "a.png"), "size of its mask"),
        (lambda masks: save_all(masks, [1, 2, 3]), "count from 1"),
        (lambda masks: save_all(masks, [255]), "2 masks with the ids [255] alone"),
        (lambda masks: (masks / "b.png").write_bytes(b"\0\1"), "1 of 2 that don't fit"),
    ],
)
def test_masks_that_do_not_fit(change, words, run, model_file, tmp_path):
    write_masks(tmp_path, "a", (40, 60))
    write_masks(tmp_path, "b", (40, 60))
    change(tmp_path / "masks")
    status, _, err = run(
        *("evaluate", tmp_path / "images", "--masks", tmp_path / "masks"),
        *("--model", model_file("segmenter")),
    )
    assert status == 1
    assert words in err
    assert len(err.splitlines()) == 1


@pytest.mark.filterwarnings("default::UserWarning")
def test_masks_of_black_and_white(run, model_file, tmp_path):
    write_masks(tmp_path, "a", (40, 60))
    Image.fromarray(np.eye(40, 60).astype("uint8") * 255).save(tmp_path / "masks" / "a.png")
    _, _, err = run(
        *("evaluate", tmp_path / "images", "--masks", tmp_path / "masks"),
        *("--model", model_file("segmenter")),
    )
    assert "divide them by 255" in err


@pytest.mark.parametrize(
    ("kind", "words"), [("segmenter", "are for a classifier"), ("features", "features model")]
)
def test_models_of_another_kind(kind, words, run, folder, model_file):
    status, _, err = run("evaluate", folder, "--model", model_file(kind))
    assert status == 1
    assert words in err


def test_which_data(run, folder, tmp_path):
    for options, words in (
        ((), "What to measure on is missing"),
        (("--annotations", "a.json"), "on --annotations and --images"),
        ((folder, "--annotations", "a.json", "--images", "b"), "without FOLDER"),
        ((folder, "--output", tmp_path / "none" / "a.json"), "--output"),
    ):
        status, _, err = run("evaluate", *options)
        assert status == 1
        assert words in err


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("classifier", ("--pad-to", "64"), "--pad-to can't be used when a classifier"),
        ("classifier", ("--long-side", "64"), "--long-side can't be used when a classifier"),
        ("segmenter", ("--pad-to", "64"), "--pad-to can't be used when a segmenter"),
        ("segmenter", ("--batch-size", "4"), "--batch-size can't be used when a segmenter"),
        ("segmenter", ("--short-side", "96", "--long-side", "64"), "--long-side must not be below"),
        ("segmenter", ("--image-size", "96"), "--image-size must be that of the model, 64 x 64"),
        ("classifier", ("--output", "/proc/a.json"), "--output can't be written: /proc/a.json"),
    ],
)
def test_options_that_a_kind_does_not_take(kind, options, words, run, folder, model_file, tmp_path):
    write_masks(tmp_path, "a", (40, 60))
    data = (
        [folder] if kind == "classifier" else [tmp_path / "images", "--masks", tmp_path / "masks"]
    )
    model = model_file(kind, input_shape=(64, 64, 3))
    status, _, err = run("evaluate", *data, "--model", model, *options)
    assert status == 1
    assert words in err


def test_the_crop_in_the_file(run, folder, model_file, monkeypatch):
    """Where it is another than ImageNet's."""
    from keras_paca import evaluation_transform

    model = model_file(
        classes=2,
        class_names=["bright", "dark"],
        evaluation_transform={"image_size": 48, "crop": 0.5},
    )
    seen = []
    loaded = keras.saving.load_model(model)
    loaded.predict_on_batch = lambda images: seen.append(images) or np.zeros((len(images), 2))
    monkeypatch.setattr("keras_paca.commands.evaluate.open_model", lambda *args, **kw: loaded)
    assert run("evaluate", folder, "--model", model)[0] == 0
    expected = evaluation_transform(sorted(folder.rglob("*.png"))[0], 48, 0.5)
    assert np.array_equal(seen[0][0], expected)


def test_a_name_of_two_classes(run, folder, model_file):
    model = model_file(class_names=["bright", "dark", "dark"])
    status, _, err = run("evaluate", folder, "--model", model)
    assert status == 1
    assert "'dark', the name of 2 of the model's classes" in err


def test_folders_of_imagenet(run, model_file, photograph):
    """Its own folders have WordNet's ids for names."""
    names = [name for _, name in imagenet_classes()]
    model = model_file(classes=1000, class_names=names)
    for identifier in ("n02012849", "n03126707", "n02123045"):  # two of them are a "crane"
        path = photograph(f"val/{identifier}/0.png")
    status, out, _ = run("evaluate", path.parents[1], "--model", model)
    assert status == 0
    assert "n02012849" in out


def write_coco(folder, categories=3):
    """Write an annotation file and two photographs; return the command that evaluates on them."""
    (folder / "images").mkdir()
    content = {"images": [], "annotations": []}
    content["categories"] = [{"id": 5 * i + 2} for i in range(categories)]
    for number, image in enumerate((skimage.data.astronaut(), skimage.data.coffee())):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        height, width = image.shape[:2]
        content["images"].append(
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        )
        content["annotations"].append({
            "id": number, "image_id": number, "category_id": 2, "area": 40000, "iscrowd": 0,
            "bbox": [100, 50, 200, 200], "segmentation": [[100, 50, 300, 50, 300, 250, 100, 250]],
        })  # fmt: skip
    (folder / "coco.json").write_text(json.dumps(content))
    command = ["evaluate", "--annotations", str(folder / "coco.json")]
    return [*command, "--images", str(folder / "images")]


def test_evaluate(small, tmp_path, capsys):
    """The printed numbers are pycocotools' own of the file that is written."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    backbone = small(include_top=False)
    settings = {"channels": 16, "proposals": 60, "max_detections": 20, "score_threshold": 0.0}
    MaskRCNN(backbone, 3, **settings).save(tmp_path / "own.keras")
    command = write_coco(tmp_path)
    output = str(tmp_path / "results.json")
    command += ["--model", str(tmp_path / "own.keras"), "--short-side", "64", "--long-side", "96"]
    assert cli.main([*command, "--output", output]) == 0
    captured = capsys.readouterr()
    assert captured.err == "2 of 2 images\n"
    lines = captured.out.splitlines()
    assert (len(lines), lines[-1]) == (25, f"detections in {output}")
    truth = COCO(str(tmp_path / "coco.json"))
    for entry in truth.dataset["annotations"]:
        entry["id"] += 1
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(output), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    for line, value in zip(lines, evaluation.stats, strict=False):
        assert line.split()[1] == ("nan" if value < 0 else f"{value:.4f}")
    capsys.readouterr()
    assert cli.main([*command, "--limit", "1", "--pad-to", "96"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 24
    assert cli.main([*command, "--pad-to", "64"]) == 1
    assert "--pad-to must not be below --long-side" in capsys.readouterr().err


def test_evaluate_opens_the_detector_asked_for(tmp_path, monkeypatch, capsys):
    built = []
    for size in ("tiny", "base"):
        models = PaCaViT.variants[f"paca_{size}"].models
        model = models[f"paca_{size}_mask_rcnn"]

        @functools.wraps(model.function)
        def factory(*, size=size, **options):
            built.append((size, options))
            raise ValueError("seen")

        monkeypatch.setitem(models, model.name, dataclasses.replace(model, function=factory))
    command = write_coco(tmp_path)
    assert cli.main(command) == 1
    more = ["--model", "base", "--clustering", "mlp", "--clusters", "9"]
    more += ["--weights", "own.pth"]
    assert cli.main([*command, *more, "--blockwise"]) == 1
    other = {"clustering": "mlp", "clusters": 9, "cluster_every": 1}
    assert built == [
        ("tiny", {"weights": "coco"}),
        ("base", {"weights": "own.pth", **other}),
    ]
    capsys.readouterr()
    (tmp_path / "images" / "1.png").unlink()
    for change, words in (
        (["--weights", "imagenet", "--limit", "1"], "leaves a detector's heads random"),
        ([], "1 are missing"),
        (["--annotations", str(tmp_path / "none.json")], "No such file"),
        (["--annotations", str(tmp_path / "images" / "0.png")], "isn't JSON"),
    ):
        assert cli.main([*command, *change]) == 1
        error = capsys.readouterr().err
        assert words in error
        assert len(error.splitlines()) == 1


def test_evaluate_refuses_other_models(small, tmp_path, capsys):
    command = write_coco(tmp_path, categories=4)
    small(include_top=False).save(tmp_path / "backbone.keras")
    MaskRCNN(small(include_top=False), 3, channels=16, proposals=60).save(tmp_path / "own.keras")
    for name, words in (
        ("backbone", "backbone.keras, a features model"),
        ("own", "annotations of 3 categories, the model's classes. Received: 4"),
    ):
        assert cli.main([*command, "--model", str(tmp_path / f"{name}.keras")]) == 1
        assert words in capsys.readouterr().err
