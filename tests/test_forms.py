"""Layers and models of two forms: their names, and configurations that ask for one."""

import keras
import pytest

from keras_paca import layers, segmentation
from keras_paca.forms import is_twin, resolve, twin_of


@pytest.mark.parametrize("cls", [layers.MLPClustering, layers.PaCaBlock, segmentation.UPerHead])
def test_a_twin_is_named_as_its_layer(cls):
    """A file finds it by the name of the layer, and by `fused` in the configuration."""
    twin = twin_of(cls)
    assert issubclass(twin, cls)
    assert is_twin(twin)
    assert not is_twin(cls)
    assert twin.__name__ == cls.__name__
    names = [keras.saving.get_registered_name(each) for each in (twin, cls)]
    assert names == [f"keras_paca>{cls.__name__}"] * 2
    assert keras.saving.get_registered_object(names[0]) is cls


def test_configurations_that_ask_for_a_twin():
    config = layers.MLPClustering(3, name="mlp").get_config()
    assert type(layers.MLPClustering.from_config(config)) is layers.MLPClustering
    twin = layers.MLPClustering.from_config({**config, "fused": True})
    assert type(twin) is twin_of(layers.MLPClustering)
    assert twin.get_config() == {**config, "fused": True}
    again = type(twin).from_config(twin.get_config())
    assert again.get_config() == twin.get_config()
    former = {**config, "fused": False, "channel_mean": "kept"}
    assert layers.MLPClustering.from_config(former).get_config() == config
    with pytest.raises(ValueError, match="DropPath has no form for inference"):
        resolve(layers.DropPath, {"rate": 0.1, "fused": True})
