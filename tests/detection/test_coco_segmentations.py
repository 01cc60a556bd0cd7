"""Polygons and run lengths: what is read, and what is refused."""

import math

import numpy as np
import pytest

from keras_paca.detection import evaluate_coco, read_coco
from keras_paca.detection.coco_segmentations import decode_counts
from tests.detection.annotations import (
    HEIGHT,
    IMAGE,
    MISSING,
    OBJECT,
    POLYGON,
    WIDTH,
    Finder,
    changed,
    write,
)
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch  # files and NumPy, the same on all backends


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
