"""Marks that depend on the backend."""

import keras
import pytest

_NOT_SLOW = pytest.mark.skipif(False, reason="as fast as it gets")

# What leaves the backend its ordinary work (files, the command, counts, options that only name
# other layers) is tested where it is fastest; `make test-full` runs it on each.
slow_but_on_torch = pytest.mark.slow if keras.backend.backend() != "torch" else _NOT_SLOW

# What TensorFlow does for the other backends.
slow_but_on_tensorflow = pytest.mark.slow if keras.backend.backend() != "tensorflow" else _NOT_SLOW

# What TensorFlow writes: on it by itself, on the other backends where it is installed beside them.
with_tensorflow = pytest.mark.together if keras.backend.backend() != "tensorflow" else _NOT_SLOW
