"""Every parity case of the segmenters and of the detector."""

import pytest

from tests.marks import slow_but_on_torch
from tests.parity import dense, official


@pytest.mark.parametrize("name", dense.SEGMENTERS)
def test_segmenter(name):
    errors = list(dense.errors(name))
    assert len(errors) == 3
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@slow_but_on_torch
@pytest.mark.parametrize("name", dense.SEGMENTERS)
def test_parameters(name):
    description, _, _ = official.case(name)
    segmenter, _, _ = dense.build(name)
    assert dense.parameters(segmenter) == description["parameters"]


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
