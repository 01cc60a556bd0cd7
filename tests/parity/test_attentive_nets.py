"""Every parity case of a whole network with attentive normalization, and of the box head."""

import numpy as np
import pytest

from tests.marks import slow_but_on_torch
from tests.parity import attentive_nets, official


@slow_but_on_torch
@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2_an",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121_an", "resnet50_an")),
    ],
)
def test_case(name):
    errors = list(attentive_nets.errors(name))
    assert len(errors) == 4
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@pytest.mark.slow
@pytest.mark.parametrize("name", attentive_nets.NETWORKS)
def test_parameters(name):
    description, _, _ = official.case(name)
    model = attentive_nets.NETWORKS[name](weights=None)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert count == description["parameters"]


@slow_but_on_torch
def test_box_head():
    errors = list(attentive_nets.box_head_errors())
    assert [array for array, _, _ in errors] == ["cls_score", "bbox_pred", "convs"]
    assert not [(array, error) for array, error, bar in errors if not error < bar]
    model, description, _ = attentive_nets.load_box_head()
    deltas_of_background = 4 * (1024 + 1)
    assert model.count_params() == description["parameters"] - deltas_of_background
