"""The teacher: Keras's own checks, and its batch norms."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(
        layers.ConvMixerTeacher,
        {"hidden_dims": (4, 6), "depths": (1, 2), "clusters": (5, 0), "kernel_size": 3},
        (2, 7, 5, 4),
        ([(2, 35, 5)], [(2, 7, 5, 4), (2, 4, 3, 6)]),
        3 * 8 + 4 + 4 + 8 + 2,
        run_training_check=False,  # lists have no single loss; trained in test_base.py
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.ConvMixerTeacher((4, 8), (1,), (3, 3)), "one entry per stage"),
        (lambda: layers.ConvMixerTeacher((4,), (1,), (3,))(np.ones((1, 2, 2, 5))), "channels"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_teacher_has_the_batch_norm_of_pytorch(images):
    """Momentum 0.1 there is 0.9 here; its epsilon and variance show in the parity cases."""
    teacher = layers.ConvMixerTeacher((8,), (1,), (3,), 3)
    x = images(2, 6, 5, 8) / 255
    teacher(x)
    unit = teacher.units[0]
    y = ops.convert_to_numpy(ops.gelu(unit.depthwise(x), approximate=False))
    teacher(x, training=True)
    moving = ops.convert_to_numpy(unit.norm1.moving_mean)
    np.testing.assert_allclose(moving, 0.1 * y.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
