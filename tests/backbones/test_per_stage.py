"""Arguments with one entry per stage."""

import numpy as np
import pytest

from keras_paca.backbones.per_stage import integers_per_stage, per_stage


@pytest.mark.parametrize("value", [(1, 2, 3, 4), [1, 2, 3, 4], np.array([1, 2, 3, 4])])
def test_one_entry_per_stage(value):
    assert per_stage("depths", value) == (1, 2, 3, 4)
    found = integers_per_stage("depths", value)
    assert found == (1, 2, 3, 4)
    assert {type(number) for number in found} == {int}


@pytest.mark.parametrize("value", [2, np.int64(2)])
def test_one_value_for_all(value):
    assert integers_per_stage("depths", value) == (2, 2, 2, 2)
    assert per_stage("clusters", None) == (None,) * 4


@pytest.mark.parametrize("value", [(1, 2, 3), (1,) * 5, "1234", ()])
def test_other_numbers_of_entries(value):
    for check in (per_stage, integers_per_stage):
        with pytest.raises(ValueError, match=r"`depths` must have one entry per stage \(4\)"):
            check("depths", value)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, (1, 2, 3, "4"), [1, 1, 1, True]])
def test_no_integers(value):
    with pytest.raises(ValueError, match="`depths` must hold integers from 1"):
        integers_per_stage("depths", value)


def test_the_least_integer():
    assert integers_per_stage("clusters", (1, 2, 3, 0), least=0) == (1, 2, 3, 0)
    with pytest.raises(ValueError, match="`clusters` must hold integers from 2"):
        integers_per_stage("clusters", (2, 2, 1, 2), least=2)
