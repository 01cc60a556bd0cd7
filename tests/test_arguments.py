"""Arguments that are checked before anything is done."""

import numpy as np
import pytest

import keras_paca


def test_pictures_of_16_bits_are_refused():
    wrong = np.full((1, 8, 8, 3), 65535, "uint16")
    maps = {"P2": np.ones((1, 2, 2, 4))}
    for call in (
        lambda: keras_paca.plot_cluster_maps(wrong[0], maps),
        lambda: keras_paca.segmentation.plot_segmentation(wrong, np.zeros((1, 8, 8), int)),
    ):
        with pytest.raises(ValueError, match="divide those of 16 bits by 257"):
            call()
