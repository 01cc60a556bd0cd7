"""What pictures are read, and the errors of those that can't be."""

import pickle
import struct

import numpy as np
import pytest
import tifffile

from keras_paca.preprocessing import load_image
from keras_paca.preprocessing.formats import PictureError, picture_suffixes
from tests.marks import slow_but_on_torch
from tests.preprocessing.files import RGB

pytestmark = slow_but_on_torch


def test_truncated_tiff_of_a_compression_that_pillow_may_lack(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.tile(RGB, (9, 9, 1)), compression="zlib")
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<HHIHH", 259, 3, 1, 8, 0),
                                     struct.pack("<HHIHH", 259, 3, 1, 50000, 0)))  # fmt: skip
    with pytest.raises(ValueError, match=r"truncated or damaged, or .* compression, zstd"):
        load_image(path)


def test_error_can_be_pickled():
    """As by the processes of a data loader."""
    error = pickle.loads(pickle.dumps(PictureError("a cat", "dog.png", "a dog")))
    assert str(error) == "Expected a cat. Received: dog.png, a dog"
    assert error.reason == "a dog"


def test_suffixes():
    suffixes = picture_suffixes()
    assert {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".mpo"} <= suffixes
    assert not {".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf", ".txt", ".palm"} & suffixes
