"""The README's snippets on KerasHub and KerasCV, as they are printed."""

import numpy as np
import pytest

from tests.marks import slow_but_on_torch
from tests.test_readme import OF_PLUGINS, PYTHON, blocks, run, stand_ins  # noqa: F401

pytestmark = [pytest.mark.plugins, slow_but_on_torch]


@pytest.mark.usefixtures("stand_ins")
def test_plugins():
    images = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), "uint8")
    names = run([PYTHON[0], *blocks(*OF_PLUGINS)], images=images)
    assert type(names["classifier"]).__name__ == "PaCaImageClassifier"
