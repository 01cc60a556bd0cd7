"""Keras's own checks of a layer, as the tests of all layers run them."""

from keras.src import testing


def run_layer_test(cls, options, input_shape, output_shape, trainable, **more):
    """Build, call, train, save and load a layer as `keras.src.testing` does.

    Args:
        cls: type. The layer's class.
        options: dict. Arguments of its constructor.
        input_shape: The shape of its input. A list of them for an input that is a list, and a dict
            by the names of the arguments of `build` for several inputs.
        output_shape: The shape that its output must have.
        trainable: int. The number of trainable weights that it must have.
        **more: Further arguments of `keras.src.testing.TestCase.run_layer_test`.
    """
    test = testing.TestCase()
    test.setUp()
    try:
        test.run_layer_test(
            cls,
            options,
            input_shape=input_shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=trainable,
            **more,
        )
    finally:
        test.tearDown()
