"""Every parity case of Castling-ViT: the same attention as the official one, and its gradient."""

import pytest

from tests.parity import castling


@pytest.mark.parametrize("name", castling.CASES)
def test_case(name):
    errors = list(castling.errors(name))
    assert len(errors) == (2 if name.endswith("gradient") else 1)
    assert not [(array, error) for array, error, bar in errors if not error < bar]
