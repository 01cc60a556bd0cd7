"""The examples in docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import keras_paca
from tests.marks import slow_but_on_torch, with_tensorflow

EXPORTS, LATENCY = "keras_paca.deploy.exports", "keras_paca.deploy.latency"
# KerasHub's environment runs the examples of `hub`, in tests/plugins.
OTHERS = (EXPORTS, LATENCY, "keras_paca.hub")
MODULES = ["keras_paca_cli"] + [
    module.name
    for module in pkgutil.walk_packages(keras_paca.__path__, "keras_paca.")
    if module.name not in OTHERS
]


@slow_but_on_torch
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@with_tensorflow
@pytest.mark.filterwarnings("ignore")  # of the converters
def test_examples_of_exports():
    failed, _ = doctest.testmod(importlib.import_module(EXPORTS))
    assert failed == 0


@pytest.mark.slow  # it measures for three seconds in each runtime
@pytest.mark.filterwarnings("ignore")  # of the converters
def test_examples_of_latency():
    failed, _ = doctest.testmod(importlib.import_module(LATENCY))
    assert failed == 0
