"""Marks that depend on the backend."""

import keras
import pytest

# What touches no backend of its own (the command, the notebook, a resumed training) is tested
# where it is fastest; `make test-full` runs it on each.
slow_but_on_torch = pytest.mark.slow if keras.backend.backend() != "torch" else lambda f: f
