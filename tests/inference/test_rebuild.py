"""Models of a changed configuration keep their weights."""

import keras
import numpy as np

from keras_paca.inference.rebuild import rebuild
from tests.inference.compare import randomise


class Doubled(keras.layers.Layer):
    """A layer that nobody registered."""

    def call(self, inputs):
        return 2 * inputs


def test_a_changed_configuration_with_the_same_weights(small, images):
    model = randomise(small(drop_path_rate=0.1))
    model.compile("sgd", "mse")
    config = keras.saving.serialize_keras_object(model)
    config["config"].update(name="other", drop_path_rate=0.3)
    again = rebuild(model, config)
    assert type(again) is type(model)
    assert not again.compiled
    assert (again.name, again.get_config()["drop_path_rate"]) == ("other", 0.3)
    x = images(1, 32, 32, 3)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_layers_that_nobody_registered(images):
    layers = [keras.layers.Lambda(lambda x: x / 2), Doubled(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    again = rebuild(model, keras.saving.serialize_keras_object(model))
    assert again is not model
    x = images(1, 4, 4, 3)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
