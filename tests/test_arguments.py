"""Arguments that are checked before anything is done."""

import numpy as np
import pytest

import keras_paca
from keras_paca.arguments import (
    check_class_names,
    check_factor,
    check_positive,
    check_rate,
    check_ratio,
    join_first,
)


def test_pictures_of_16_bits_are_refused():
    wrong = np.full((1, 8, 8, 3), 65535, "uint16")
    maps = {"P2": np.ones((1, 2, 2, 4))}
    for call in (
        lambda: keras_paca.plot_cluster_maps(wrong[0], maps),
        lambda: keras_paca.segmentation.plot_segmentation(wrong, np.zeros((1, 8, 8), int)),
    ):
        with pytest.raises(ValueError, match="divide those of 16 bits by 257"):
            call()


def test_numbers():
    assert check_positive("n", np.int64(3)) == 3
    assert check_rate("rate", np.float32(0.5)) == check_factor("factor", 0.5) == 0.5
    for wrong in (0, -1, 1.5, True, "3", None):
        with pytest.raises(ValueError, match=r"`n` must be a positive integer.*Received: n="):
            check_positive("n", wrong)
    for wrong in (1, -0.1, float("nan"), "0.5", None, True):
        with pytest.raises(ValueError, match=r"`rate` must lie in \[0, 1\)"):
            check_rate("rate", wrong)


def test_widths_of_hidden_layers():
    assert check_ratio("ratio", 1) == 1
    assert check_ratio("ratio", 0.25, channels=4) == 0.25
    for wrong in (0, -1.0, float("inf"), float("nan"), "4", None, True):
        with pytest.raises(ValueError, match=r"`ratio` must make the hidden layer.*: ratio="):
            check_ratio("ratio", wrong)
    with pytest.raises(ValueError, match=r"Received: ratio=0\.2 for 4 channels"):
        check_ratio("ratio", 0.2, channels=4)


def test_names_of_classes():
    assert check_class_names(np.array(["a", "b"]), 2) == ("a", "b")
    assert check_class_names(None, 2) is None
    for wrong in ("ab", ["a"], ["a", 1], 3):
        with pytest.raises(ValueError, match="one str for each"):
            check_class_names(wrong, 2)


def test_long_lists_are_cut_short():
    assert join_first(["a", "b"], 2) == "a, b"
    assert join_first(["a", "b", "c", "d"], 2) == "a, b, and 2 more"
