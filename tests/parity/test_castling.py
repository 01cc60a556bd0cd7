"""Every parity case of Castling-ViT: the same attention as the official one, and its gradient."""

import pytest

from tests.marks import slow_but_on_torch
from tests.parity import castling

OUTPUTS = [name for name in castling.CASES if not name.endswith("gradient")]  # are in the others


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in castling.CASES if name not in OUTPUTS),
        *(pytest.param(name, marks=slow_but_on_torch) for name in OUTPUTS),
    ],
)
def test_case(name):
    errors = list(castling.errors(name))
    assert len(errors) == (2 if name.endswith("gradient") else 1)
    assert not [(array, error) for array, error, bar in errors if not error < bar]
