"""The dtype policies of layers inside layers."""

import keras
import pytest

from keras_paca import layers
from keras_paca.layers.policies import (
    InnerDTypePolicyMap,
    exact_dtype,
    logits_policy,
    quantized_layers,
)
from tests.marks import slow_but_on_torch

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")


@slow_but_on_torch
def test_policies_have_the_paths_inside_their_owner(small):
    model = small(name="any", input_shape=(32, 32, 3))
    model.quantize("int8", filters="^(query|predictions)$")
    policies = keras.dtype_policies.get(model.get_config()["dtype"])
    assert isinstance(policies, InnerDTypePolicyMap)
    assert policies.default_policy.name == "float32"
    assert set(policies) == {"predictions"} | {
        f"stage{i}_block{j}/attention/query" for i, j in ((1, 1), (2, 1), (2, 2), (3, 1), (4, 1))
    }
    block = model.get_layer("stage2_block2")
    assert set(keras.dtype_policies.get(block.get_config()["dtype"])) == {"attention/query"}


@slow_but_on_torch
def test_a_map_of_the_users_own_is_handed_on(images):
    policies = keras.dtype_policies.DTypePolicyMap(
        "float32", {".*/expand": keras.DTypePolicy("bfloat16")}
    )
    layer = layers.ConvMLP(dtype=policies)
    layer(images(1, 4, 4, 4) / 255)
    assert layer.expand_dense.compute_dtype == "bfloat16"
    assert layer.project_dense.compute_dtype == layer.compute_dtype == "float32"


def test_precision_of_logits_and_sums():
    expected = {
        "float32": ("float32", "float32"),
        "mixed_float16": ("float32", "float32"),
        "bfloat16": ("bfloat16", "float32"),
    }
    for name, (logits, exact) in expected.items():
        policy = keras.dtype_policies.get(name)
        assert keras.dtype_policies.get(logits_policy(policy)).compute_dtype == logits
        assert exact_dtype(policy) == exact


def test_quantized_layers_are_found(small):
    model = small()
    assert quantized_layers(model) == []
    model.quantize("int8", filters="^query$")
    assert {layer.name for layer in quantized_layers(model)} == {"query"}
