"""Annotation files of COCO and of other tools: what is read, and what is refused by its name."""

import json
import math
import time

import numpy as np
import pytest
from PIL import Image

from keras_paca.detection import COCODataset, evaluate_coco, read_coco
from tests.detection.annotations import (
    HEIGHT,
    IMAGE,
    MISSING,
    OBJECT,
    POLYGON,
    WIDTH,
    Blind,
    Finder,
    changed,
    write,
)
from tests.detection.scenes import Oracle
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch  # files and NumPy, the same on all backends


# --- Wrong entries ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "id": (MISSING, None, "4711", 1.5, True, [], math.nan),
        "height": (MISSING, None, "64", 0, -64, 64.5, True, math.inf),
        "width": (MISSING, None, "96", 0, -96, 96.5, False, math.nan),
        "file_name": (MISSING, None, "", 5, "/a.png", "../a.png", "b/../../a.png", "..\\a.png",
                      "C:\\a.png", "\\a.png"),
    }.items(),
)  # fmt: skip
def test_wrong_images(field, values, tmp_path):
    for value in values:
        files = write(tmp_path, images=[changed(IMAGE, **{field: value})], annotations=[])
        name = "the image with id 4711" if field != "id" else "image"
        with pytest.raises(ValueError, match=rf"a\.json.*{name}.*`{field}`") as refusal:
            read_coco(*files)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "id": (MISSING, None, "815", 1.5, True),
        "image_id": (MISSING, None, "4711", 9, 1.5, True),
        "category_id": (MISSING, None, "1", 9, 1.5, True, [1]),
        "bbox": (MISSING, None, [], [1, 2], [1, 2, 3, 4, 5], [1, 2, 3, None], [1, 2, "3", 4],
                 [1, 2, math.nan, 4], [1, 2, 3, math.inf], [1, 2, -3, 4], [1, 2, 3, -4], "1234",
                 {"x": 1}, [True, 2, 3, 4], [[1, 2, 3, 4]], [1, 2, 3, 10**400]),
        "area": (MISSING, None, "450", -1, math.nan, math.inf, True, []),
        "iscrowd": ("0", 2, -1, [], 0.5),
    }.items(),
)  # fmt: skip
def test_wrong_annotations(field, values, tmp_path):
    for value in values:
        files = write(tmp_path, annotations=[OBJECT, changed(OBJECT, **{"id": 77, field: value})])
        name = "annotation with id 77" if field != "id" else "annotation"
        with pytest.raises(ValueError, match=rf"a\.json.*{name}.*`{field}`") as refusal:
            read_coco(*files)
        assert "\n" not in str(refusal.value)


def test_boxes_far_outside_the_image(tmp_path):
    """Of one with a side of 1e200, the area is infinite and every metric NaN."""
    for box in ([5, 5, 1e200, 1e200], [-1e200, 5, 30, 30], [5, 5, 30, 961]):
        files = write(tmp_path, annotations=[OBJECT, {**OBJECT, "id": 77, "bbox": box}])
        words = r"annotation with id 77: `bbox` is far outside the image with id 4711, 64 x 96"
        with pytest.raises(ValueError, match=words) as refusal:
            read_coco(*files)
        assert "\n" not in str(refusal.value)
    read_coco(*write(tmp_path, annotations=[{**OBJECT, "bbox": [5, 5, 30, 960]}]))


def test_wrong_categories_and_entries_that_are_no_objects(tmp_path):
    for change, words in (
        ({"categories": [{"id": 1}, {"id": "2"}]}, 'category with id "2"'),
        (
            {"categories": [{"id": 1}, {"name": "cat"}]},
            "entry 2 of the list categories: `id` is missing",
        ),
        ({"categories": [{"id": 1}, {"id": 1}]}, "category with id 1.*twice"),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.png"}]}, "image with id 4711.*twice"),
        ({"annotations": [OBJECT, OBJECT]}, "annotation with id 815.*twice"),
        ({"annotations": [OBJECT, None]}, "entry 2 of the list annotations is null"),
        ({"images": [IMAGE, 5]}, "entry 2 of the list images is 5"),
    ):
        with pytest.raises(ValueError, match=words):
            read_coco(*write(tmp_path, **change))


def test_many_wrong_entries(tmp_path):
    """They are counted and the first ones shown, each with all that is wrong with it."""
    objects = [{**OBJECT, "id": i, "area": None, "bbox": [1]} for i in range(9)]
    with pytest.raises(ValueError, match=r"9 of 11 entries are wrong: .*and 6 more") as refusal:
        read_coco(*write(tmp_path, annotations=objects))
    assert str(refusal.value).count("`area`") == str(refusal.value).count("`bbox`") == 3


def test_other_kinds_of_files(tmp_path):
    result = {"image_id": 4711, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    common = {"id": 1, "image_id": 4711}
    for content, words in (
        ([result], "a file of results"),
        ([], "a list"),
        (5, "which is 5"),
        ({"images": [IMAGE], "annotations": [{**common, "caption": "A cat."}]}, "of captions"),
        ({"images": [IMAGE], "annotations": [{**common, "segments_info": []}]}, "of panoptic"),
        ({"images": [IMAGE], "annotations": [{**common, "keypoints": [1, 2, 2]}]}, "of keypoints"),
        ({"images": [IMAGE], "categories": []}, "without the list annotations"),
        ({"images": {}, "annotations": [], "categories": []}, "without the list images"),
        ({"images": [], "annotations": [], "categories": []}, "without images"),
    ):
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"a\.json.*{words}"):
            read_coco(tmp_path / "a.json", tmp_path)
    for text in (b"", b"{", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b"1" * 5000):
        (tmp_path / "a.json").write_bytes(text)
        with pytest.raises(ValueError, match="isn't JSON"):
            read_coco(tmp_path / "a.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="a file of annotations"):
        read_coco(tmp_path, tmp_path)


def test_boxes_that_are_relative(tmp_path):
    objects = [{**OBJECT, "id": i, "bbox": [0.1, 0.2, 0.3, 0.4]} for i in range(2)]
    with pytest.raises(ValueError, match=r"within one pixel.*in pixels"):
        read_coco(*write(tmp_path, annotations=objects))


# --- Forms that are read ----------------------------------------------------------------------


def test_lenient_where_the_meaning_is_clear(tmp_path):
    """Floats for integers, kinds of crowds, empty fields; results are those of the plain form."""
    image = changed(IMAGE, id=4711.0, height=64.0, width=96.0, license=None, date_captured=0)
    crowds = [MISSING, None, False, 0, 0.0, True, 1, 1.0]
    objects = [
        changed(OBJECT, id=i, image_id=4711.0, category_id=1.0, iscrowd=crowd, segmentation=empty)
        for i, (crowd, empty) in enumerate(zip(crowds, [None, [], MISSING] * 3, strict=False))
    ]
    alone = changed(IMAGE, id=5, file_name="b.png")
    path, folder = write(tmp_path, [image, alone], objects, [{"id": 1.0, "name": None}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    dataset = read_coco(path, folder)
    assert dataset.content["images"][0] | {"license": 0} == {**image, "license": 0}
    assert [entry["iscrowd"] for entry in dataset.content["annotations"]] == [0] * 5 + [1] * 3
    assert dataset.category_ids == [1]
    for entries, fields in (("images", ("id", "height", "width")), ("annotations", ("image_id",))):
        for entry in dataset.content[entries]:
            assert all(type(entry[field]) is int for field in fields)
            assert "segmentation" not in entry
    assert evaluate_coco(Blind(), dataset)["box_mAP"] == 0


def test_no_annotations_and_more_images_asked_for_than_there_are(tmp_path):
    files = write(tmp_path, annotations=[])
    metrics = evaluate_coco(Blind(), read_coco(*files, limit=99))
    assert math.isnan(metrics["box_mAP"])
    for limit in (0, -1, 1.5, "1", True):
        with pytest.raises(ValueError, match="`limit` must be"):
            read_coco(*files, limit=limit)


def test_names_in_folders(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.png")
    for name in ("images/a.png", "images\\a.png", "./images/a.png"):
        path, _ = write(tmp_path, [{**IMAGE, "file_name": name}])
        (found,) = read_coco(path, tmp_path).paths
        assert found.samefile(tmp_path / "images" / "a.png")
        with pytest.raises(FileNotFoundError, match=r"id 4711.*in the folder above"):
            read_coco(path, tmp_path / "images")


def test_boxes_that_nobody_can_find(tmp_path):
    """COCO's own train2017 has two without height: a warning, not a refusal."""
    polygon = [50, 20, 50, 20, 60, 20, 60, 20]
    flat = {**OBJECT, "id": 918, "bbox": [50, 20, 10, 0], "area": 0, "segmentation": [polygon]}
    outside = {**OBJECT, "id": 3, "bbox": [200, 5, 30, 30], "segmentation": [POLYGON]}
    good = {**OBJECT, "segmentation": [POLYGON]}
    files = write(tmp_path, annotations=[good, flat, outside])
    with pytest.warns(UserWarning, match="2 of 3 boxes.*id 918"):
        dataset = read_coco(*files)
    assert evaluate_coco(Blind(), dataset)["mask_AR100"] == 0


def test_files_of_keypoints_that_have_boxes_too(tmp_path):
    files = write(tmp_path, annotations=[{**OBJECT, "keypoints": [9, 9, 2], "num_keypoints": 1}])
    with pytest.warns(UserWarning, match="a file of keypoints"):
        dataset = read_coco(*files)
    assert evaluate_coco(Finder([[5, 5, 35, 35]], [0], 1), dataset, None, 64, 96)["box_AR1"] == 1


# --- The tools' own forms ---------------------------------------------------------------------

BOXES = [[20, 10, 60, 40], [5, 5, 15, 55]]
SQUARES = [[20, 10, 60, 10, 60, 40, 20, 40], [5, 5, 15, 5, 15, 55, 5, 55]]
LEFT_TOP = [[20, 10, 40, 30], [5, 5, 10, 50]]
AREAS = [1200, 500]
COUNTS = [[10 + 20 * 64, *([30, 34] * 39), 30, 24 + 36 * 64],
          [5 + 5 * 64, *([50, 14] * 9), 50, 9 + 81 * 64]]  # fmt: skip


def as_cvat(shapes):
    images = [{"id": 1, "width": 96, "height": 64, "file_name": "default/a.png", "license": 0,
               "flickr_url": "", "coco_url": "", "date_captured": 0}]  # fmt: skip
    segmentations = {
        "boxes": [[], []],
        "polygons": [[[float(x) for x in square]] for square in SQUARES],
        "masks": [{"counts": counts, "size": [64, 96]} for counts in COUNTS],
    }[shapes]
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": i, "name": n, "supercategory": ""} for i, n in ((1, "a"), (2, "b"))],
        "images": images,
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": i + 1, "segmentation": segmentations[i],
             "area": float(AREAS[i]), "bbox": [float(x) for x in LEFT_TOP[i]], "iscrowd": 0,
             "attributes": {"occluded": False}} for i in range(2)
        ],
    }  # fmt: skip


def as_label_studio(shapes):
    segmentations = {"boxes": [[], []], "polygons": [[square] for square in SQUARES]}[shapes]
    return {
        "images": [{"width": 96, "height": 64, "id": 0, "file_name": "images\\a.png"}],
        "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": i, "segmentation": segmentations[i],
             "bbox": LEFT_TOP[i], "ignore": 0, "iscrowd": 0, "area": AREAS[i]} for i in range(2)
        ],
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
    }  # fmt: skip


def as_roboflow(shapes):
    segmentations = {"boxes": [[], []], "polygons": [[square] for square in SQUARES]}[shapes]
    names = ("things", "a", "b")  # the first one is the data set's and has no objects
    return {
        "info": {"year": "2024", "version": "1", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "", "name": "Public Domain"}],
        "categories": [
            {"id": i, "name": name, "supercategory": "things" if i else "none"}
            for i, name in enumerate(names)
        ],
        "images": [{"id": 0, "license": 1, "file_name": "a_png.rf.0a1b2c.png", "height": 64,
                    "width": 96, "date_captured": "2024-01-01T00:00:00+00:00"}],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": i + 1, "bbox": LEFT_TOP[i], "area": AREAS[i],
             "segmentation": segmentations[i], "iscrowd": 0} for i in range(2)
        ],
    }  # fmt: skip


def as_labelme(shapes):
    return {
        "info": {"description": None, "url": None, "version": None, "year": 2024},
        "licenses": [{"url": None, "id": 0, "name": None}],
        "type": "instances",
        "images": [{"license": 0, "url": None, "file_name": "JPEGImages/a.png", "height": 64,
                    "width": 96, "date_captured": None, "id": 0}],
        "categories": [
            {"supercategory": None, "id": i, "name": name}
            for i, name in enumerate(("_background_", "a", "b"))
        ],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": i + 1, "segmentation": [SQUARES[i]],
             "area": float(AREAS[i]), "bbox": [float(x) for x in LEFT_TOP[i]], "iscrowd": 0}
            for i in range(2)
        ],
    }  # fmt: skip


def as_fiftyone(shapes):
    more = {
        "boxes": [{}, {}],
        "polygons": [{"segmentation": [square], "iscrowd": 0} for square in SQUARES],
    }[shapes]
    return {
        "info": {"year": "", "version": "", "description": "Exported from FiftyOne"},
        "licenses": [],
        "categories": [{"id": i, "name": n, "supercategory": None} for i, n in enumerate("ab")],
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 96, "license": None,
                    "coco_url": None}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": i, "bbox": LEFT_TOP[i], "area": AREAS[i],
             "confident": True, "tags": [], **more[i]} for i in range(2)
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "shapes", "names", "labels"),
    [
        (as_cvat, "boxes", 2, [0, 1]),
        (as_cvat, "polygons", 2, [0, 1]),
        (as_cvat, "masks", 2, [0, 1]),
        (as_label_studio, "boxes", 2, [0, 1]),
        (as_label_studio, "polygons", 2, [0, 1]),
        (as_roboflow, "boxes", 3, [1, 2]),
        (as_roboflow, "polygons", 3, [1, 2]),
        (as_labelme, "polygons", 3, [1, 2]),
        (as_fiftyone, "boxes", 2, [0, 1]),
        (as_fiftyone, "polygons", 2, [0, 1]),
    ],
)
def test_tools(tool, shapes, names, labels, tmp_path):
    """Files as these tools export them give the right numbers."""
    content = tool(shapes)
    (image,) = content["images"]
    path = tmp_path / image["file_name"].replace("\\", "/")
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    (tmp_path / "a.json").write_text(json.dumps(content))
    dataset = read_coco(tmp_path / "a.json", tmp_path)
    metrics = evaluate_coco(Finder(BOXES, labels, names), dataset, None, 64, 96)
    assert metrics["box_AR100"] == 1
    assert ("mask_AR100" in metrics) == (shapes != "boxes")
    assert metrics.get("mask_AR100", 1) > 0.9  # 28 x 28 cells end inside the box's corners


def test_tools_whose_categories_hold_more_than_the_classes(tmp_path):
    for tool, name in ((as_roboflow, "things"), (as_labelme, "_background_")):
        content = tool("polygons")
        content["images"][0]["file_name"] = "a.png"
        files = write(tmp_path, **content)
        with pytest.raises(
            ValueError, match=rf"of 2 categories.*3 categories.*1 without objects .{name}."
        ):
            evaluate_coco(Blind(2), read_coco(*files))


def test_a_large_file_is_read_in_seconds(tmp_path):
    images = [{**IMAGE, "id": i} for i in range(5000)]
    objects = [
        {**OBJECT, "id": i, "image_id": i % 5000, "segmentation": [POLYGON * 5]}
        for i in range(36_000)
    ]
    files = write(tmp_path, images, objects)
    start = time.monotonic()
    assert len(read_coco(*files).content["annotations"]) == 36_000
    assert time.monotonic() - start < 30


# --- Before the work --------------------------------------------------------------------------


def test_a_data_set_made_by_hand(tmp_path):
    """`COCODataset` takes content without a file, as before."""
    path, folder = write(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 0
    dataset = COCODataset(content, [folder / "a.png"])
    scene = (np.zeros((HEIGHT, WIDTH, 3)), {"boxes": [[5, 5, 35, 35]], "labels": [0]})
    metrics = evaluate_coco(Oracle([scene], num_classes=1), dataset, None, 64, 96)
    assert metrics["box_AR1"] == 1
