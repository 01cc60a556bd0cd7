"""Every parity case of the segmenters and of the detector."""

import math

import pytest

from tests.marks import slow_but_on_torch
from tests.parity import dense, official

ARRAYS = {"pacah": 3, "upern": 3, "seman": 10, "segme": 8}  # by the beginning of the case's name
LARGE = ("semantic_fpn_RapidNet_M", "segmenter_vittm_small_16_32")
MARKS = dict.fromkeys(LARGE, pytest.mark.slow) | {
    "upernet_pacavit_tiny_p2cconv_100_0": slow_but_on_torch,
    "segmenter_vittm_tiny_28": slow_but_on_torch,
}
each_case = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, [])) for name in dense.SEGMENTERS],
)


@each_case
def test_segmenter(name):
    errors = list(dense.errors(name))
    assert len(errors) == ARRAYS[name[:5]]
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@slow_but_on_torch
@each_case
def test_parameters(name):
    description, _, _ = official.case(name)
    unused = description.get("unused_keys", ())
    without = sum(math.prod(description["checkpoint"][key]) for key in unused)
    segmenter, _, _ = dense.build(name)
    assert dense.parameters(segmenter) == description["parameters"] - without


@slow_but_on_torch
def test_detector():
    (name,) = dense.DETECTORS
    errors = list(dense.detector_errors(name))
    assert len(errors) == 5 * 3 + 4 + 3
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@slow_but_on_torch
def test_detector_parameters():
    (name,) = dense.DETECTORS
    description, _, _ = official.case(name)
    detector, _, _ = dense.build_detector(name)
    assert dense.parameters(detector) == description["parameters"]
