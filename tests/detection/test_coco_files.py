"""Annotation files of COCO and of other tools: what is read, and what is refused by its name."""

import json
import math
import time

import keras
import numpy as np
import pytest
from PIL import Image

import keras_paca
from keras_paca.detection import COCODataset, MaskRCNN, evaluate_coco, read_coco
from keras_paca.detection.coco_segmentations import decode_counts
from keras_paca.segmentation import Segmenter
from tests.detection.test_coco_metrics import Oracle
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch  # files and NumPy, the same on all backends

HEIGHT, WIDTH = 64, 96
IMAGE = {"id": 4711, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}
OBJECT = {"id": 815, "image_id": 4711, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 450}
POLYGON = [5, 5, 35, 5, 35, 35]
MISSING = object()


def write(folder, images=(IMAGE,), annotations=(OBJECT,), categories=({"id": 1},), **more):
    """Write an annotation file and its images; return the arguments of `read_coco`."""
    for image in images:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            path = folder / image["file_name"]
            if path.parent.is_dir() and not path.exists() and "\\" not in path.name:
                Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    content = {"images": images, "annotations": annotations, "categories": categories, **more}
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json", folder


def changed(entry, **fields):
    entry = {**entry, **fields}
    return {name: value for name, value in entry.items() if value is not MISSING}


class Blind:
    """A detector that finds nothing and counts its images."""

    bounding_box_format, num_classes, input_shape = "xyxy", 1, (None, None, None, 3)

    def __init__(self, num_classes=1):
        self.num_classes, self.images = num_classes, []

    def predict_on_batch(self, images):
        self.images.append(images[0])
        return {
            "boxes": np.zeros((1, 1, 4)),
            "scores": np.zeros((1, 1)),
            "labels": np.full((1, 1), -1),
            "masks": np.zeros((1, 1, 28, 28)),
        }


class Finder(Blind):
    """A detector that finds the same boxes with full masks in every image of 64 x 96 pixels."""

    def __init__(self, boxes, labels, num_classes):
        super().__init__(num_classes)
        self.boxes, self.labels = np.array([boxes], float), np.array([labels])

    def predict_on_batch(self, images):
        assert images.shape == (1, HEIGHT, WIDTH, 3)
        n = self.labels.size
        return {
            "boxes": self.boxes,
            "scores": np.full((1, n), 0.9),
            "labels": self.labels,
            "masks": np.ones((1, n, 28, 28)),
        }


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


# --- Segmentations ----------------------------------------------------------------------------

PIXELS = HEIGHT * WIDTH
WRONG_SEGMENTATIONS = {
    "one point": [[50, 20]],
    "two points": [[50, 20, 60, 20]],
    "a bad part beside a good one": [POLYGON, [50, 20]],
    "empty polygon": [[]],
    "empty polygon beside a good one": [POLYGON, []],
    "flat list": POLYGON,
    "pairs of points": [[[5, 5], [35, 5], [35, 35]]],
    "too deep": [[POLYGON]],
    "odd": [[5, 5, 35, 5, 35, 35, 9]],
    "text": "abc",
    "empty text": "",
    "texts in a polygon": [["a"] * 6],
    "numbers as texts": [[str(number) for number in POLYGON]],
    "null in a polygon": [[5, 5, 35, 5, None, 35]],
    "null for a polygon": [None],
    "NaN": [[5, 5, 35, 5, math.nan, 35]],
    "boolean": [[5, 5, 35, 5, True, 35]],
    "far away": [[5, 5, 1e9, 5, 35, 35]],
    "very far away": [[5, 5, 10**400, 5, 35, 35]],
    "number": 5,
    "true": True,
    "empty dict": {},
    "no counts": {"size": [HEIGHT, WIDTH]},
    "no size": {"counts": [PIXELS]},
    "null counts": {"counts": None, "size": [HEIGHT, WIDTH]},
    "null size": {"counts": [PIXELS], "size": None},
    "turned": {"counts": [PIXELS], "size": [WIDTH, HEIGHT]},
    "other size": {"counts": [100], "size": [10, 10]},
    "sum": {"counts": [PIXELS - 1], "size": [HEIGHT, WIDTH]},
    "negative count": {"counts": [PIXELS + 1, -1], "size": [HEIGHT, WIDTH]},
    "count as text": {"counts": [str(PIXELS)], "size": [HEIGHT, WIDTH]},
    "fraction": {"counts": [0.5, PIXELS - 0.5], "size": [HEIGHT, WIDTH]},
    "broken counts": {"counts": "~~~~", "size": [HEIGHT, WIDTH]},
    "cut counts": {"counts": "n6", "size": [HEIGHT, WIDTH]},
    "no characters": {"counts": "", "size": [HEIGHT, WIDTH]},
    "other characters": {"counts": "n63Té", "size": [HEIGHT, WIDTH]},
    "dict in a list": [{"counts": [PIXELS], "size": [HEIGHT, WIDTH]}],
}


@pytest.mark.parametrize("form", WRONG_SEGMENTATIONS)
def test_wrong_segmentations(form, tmp_path):
    good = {**OBJECT, "segmentation": [POLYGON]}
    bad = {**OBJECT, "id": 77, "segmentation": WRONG_SEGMENTATIONS[form]}
    with pytest.raises(ValueError, match=r"a\.json.*annotation with id 77: `segmentation`") as no:
        read_coco(*write(tmp_path, annotations=[good, bad]))
    assert "\n" not in str(no.value)
    assert len(str(no.value)) < 400


def test_forms_of_segmentations(tmp_path):
    """The same mask as polygon and as run lengths of both kinds."""
    from pycocotools import mask as coder

    mask = np.zeros((HEIGHT, WIDTH), "uint8", order="F")
    mask[10:40, 20:60] = 1
    coded = coder.encode(mask)
    changes = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
    counts = [int(n) for n in np.diff([0, *changes, PIXELS])]
    assert decode_counts(coded["counts"].decode()) == counts
    size = [HEIGHT, WIDTH]
    objects = [
        {"segmentation": [[20, 10, 60, 10, 60, 40, 20, 40]]},
        {"segmentation": [[20, 10, 60, 10, 60, 25, 20, 25], [20, 25, 60, 25, 60, 40, 20, 40]]},
        {"segmentation": {"counts": counts, "size": size}},
        {"segmentation": {"counts": [*map(float, counts)], "size": [64.0, 96.0]}},
        {"segmentation": {"counts": coded["counts"].decode(), "size": size}},
    ]
    common = {"category_id": 1, "bbox": [20, 10, 40, 30], "area": 1200}
    images = [{**IMAGE, "id": i, "file_name": f"{i}.png"} for i in range(5)]
    objects = [{**o, **common, "id": i, "image_id": i} for i, o in enumerate(objects)]
    dataset = read_coco(*write(tmp_path, images, objects))
    metrics = evaluate_coco(Finder([[20, 10, 60, 40]], [0], 1), dataset, None, 64, 96)
    assert metrics["mask_AR100"] == metrics["box_AR100"] == 1


def test_compressed_counts_of_random_masks():
    from pycocotools import mask as coder

    draw = np.random.default_rng(0)
    for share in (0, 0.01, 0.5, 0.99, 1):
        mask = np.asfortranarray(draw.uniform(size=(50, 70)) < share).astype("uint8", order="F")
        counts = decode_counts(coder.encode(mask)["counts"].decode())
        values = np.arange(len(counts)) % 2
        np.testing.assert_array_equal(np.repeat(values, counts), mask.ravel(order="F"))


def test_some_objects_without_segmentation(tmp_path):
    for empty in (None, [], MISSING):
        objects = [
            {**OBJECT, "segmentation": [POLYGON]},
            changed(OBJECT, id=77, segmentation=empty),
        ]
        with pytest.raises(ValueError, match=r"1 of 2 annotations have none, first .* id 77"):
            read_coco(*write(tmp_path, annotations=objects))


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


def test_output_in_a_folder_without_permission(tmp_path, monkeypatch):
    dataset, model = read_coco(*write(tmp_path)), Blind()

    def refuse(**_):
        raise PermissionError("Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="`output` can't be written"):
        evaluate_coco(model, dataset, tmp_path / "results.json", 64, 96)
    assert not model.images


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


def test_categories_with_other_names_for_some_classes(tmp_path):
    with pytest.warns(UserWarning, match="1 of 3 categories.*'tv' and 'television'"):
        evaluate_names(["cat", "dog", "tv"], ["cat", "dog", "television"], tmp_path)


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


def test_a_data_set_made_by_hand(tmp_path):
    """`COCODataset` takes content without a file, as before."""
    path, folder = write(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 0
    dataset = COCODataset(content, [folder / "a.png"])
    scene = (np.zeros((HEIGHT, WIDTH, 3)), {"boxes": [[5, 5, 35, 35]], "labels": [0]})
    metrics = evaluate_coco(Oracle([scene], num_classes=1), dataset, None, 64, 96)
    assert metrics["box_AR1"] == 1
