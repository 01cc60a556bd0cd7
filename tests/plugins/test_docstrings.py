"""The examples in the docstrings of `keras_paca.hub` run as they stand."""

import doctest
import importlib

import pytest

from tests.marks import slow_but_on_torch

pytestmark = [pytest.mark.plugins, slow_but_on_torch]


def test_examples_of_hub():
    failed, attempted = doctest.testmod(importlib.import_module("keras_paca.hub"))
    assert failed == 0
    assert attempted > 0
