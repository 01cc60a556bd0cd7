"""The examples in docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import keras_paca
from tests.marks import slow_but_on_torch

MODULES = [
    module.name
    for module in pkgutil.walk_packages(keras_paca.__path__, "keras_paca.")
    if module.name != "keras_paca.hub"  # which needs KerasHub
]


@slow_but_on_torch
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
