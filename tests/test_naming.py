"""Default names of models and layers."""

import keras
import pytest

from keras_paca import layers
from keras_paca.naming import default_name


def test_default_names(small):
    first, second = small(), small()
    assert first.name.startswith("paca_vit")
    assert first.name != second.name
    assert layers.PaCaBlock(1).name.startswith("paca_block")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("PaCaViT", "paca_vit"), ("PaCaBlock", "paca_block"), ("ConvMLP", "conv_mlp")],
)
def test_words(name, expected):
    cls = type(name, (), {})
    keras.backend.clear_session()
    assert [default_name(cls) for _ in range(3)] == [expected, f"{expected}_1", f"{expected}_2"]
