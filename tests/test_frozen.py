"""Which layers train."""

import keras

from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state


def model_of_two():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="inner")
    return keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(1, name="last")])


def test_set_trainable_reaches_what_is_inside():
    """Also where the outer value stays, which Keras's assignment passes over on TensorFlow."""
    model = model_of_two()
    model.trainable = False
    model.get_layer("inner").trainable = True
    set_trainable(model, False)
    assert not any(layer.trainable for layer in model._flatten_layers())
    assert not any(variable.trainable for variable in model.weights)
    set_trainable(model, True)
    assert len(model.trainable_variables) == 4


def test_a_state_is_restored():
    model = model_of_two()
    model.get_layer("inner").trainable = False
    model.get_layer("inner").get_layer("dense").trainable = True
    state = trainable_state(model)
    assert state == {"frozen": ["inner"], "thawed": ["inner/dense"]}
    for trainable in (True, False):
        other = model_of_two()
        set_trainable(other, trainable)
        set_trainable(other, True)
        restore_trainable_state(other, **state)
        assert trainable_state(other) == state
