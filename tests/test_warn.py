"""The library's warnings."""

import pytest

from keras_paca import weights
from keras_paca.warn import KerasPaCaWarning, warn_user


def test_the_line_of_the_user_is_shown():
    """The nearest one outside this library and Keras."""
    with pytest.warns(KerasPaCaWarning, match="^Look at this$") as caught:
        warn_user("Look at this")
    assert caught[0].filename == __file__

    with pytest.warns(KerasPaCaWarning, match="the head keeps its initial values") as caught:
        weights.warn_fresh("file.pth", "the head", "made for 2 classes")
    assert caught[0].filename == __file__
