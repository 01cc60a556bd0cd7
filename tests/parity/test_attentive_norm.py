"""Every parity case of one attentive normalization, in inference and in training."""

import pytest

from tests.marks import slow_but_on_torch
from tests.parity import attentive_norm

PUBLISHED = "attentive_batch_norm_mode2"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == PUBLISHED else slow_but_on_torch)
        for name in attentive_norm.CASES
    ],
)
def test_case(name):
    errors = list(attentive_norm.errors(name))
    assert len(errors) == (1 if "group" in name else 4)
    assert not [(array, error) for array, error, bar in errors if not error < bar]
