"""Every parity case of one attentive normalization, in inference and in training."""

import pytest

from tests.parity import attentive_norm


@pytest.mark.parametrize("name", attentive_norm.CASES)
def test_case(name):
    errors = list(attentive_norm.errors(name))
    assert len(errors) == (1 if "group" in name else 4)
    assert not [(array, error) for array, error, bar in errors if not error < bar]
