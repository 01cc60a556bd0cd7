"""The notebook on KerasCV's RetinaNet, as it stands, with what its last cell asserts."""

from importlib.util import find_spec

import keras
import pytest

from tests.test_examples import EXAMPLES, run_notebook

pytestmark = [pytest.mark.plugins, pytest.mark.slow]


def test_kerascv_retinanet(monkeypatch, tmp_path):
    if keras.backend.backend() == "torch" and find_spec("torchvision") is None:
        pytest.skip("KerasCV's suppression needs torchvision on PyTorch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    run_notebook("kerascv_retinanet")
