"""The examples in docstrings run as they stand, and public docstrings are complete."""

import doctest
import importlib
import inspect
import pkgutil
import re
import sys

import pytest

import keras_paca
from keras_paca import detection, segmentation
from keras_paca.backbones.documentation import read_args
from keras_paca.weights import released
from tests.marks import slow_but_on_torch, with_tensorflow

EXPORTS, LATENCY = "keras_paca.deploy.exports", "keras_paca.deploy.latency"
# KerasHub's environment runs the examples of `hub`, in tests/plugins.
OTHERS = (EXPORTS, LATENCY, "keras_paca.hub")
MODULES = ["keras_paca_cli"] + [
    module.name
    for module in pkgutil.walk_packages(keras_paca.__path__, "keras_paca.")
    if module.name not in OTHERS
]
PACKAGES = ["keras_paca"] + [
    module.name
    for module in pkgutil.walk_packages(keras_paca.__path__, "keras_paca.")
    if module.ispkg
]
PUBLIC = {  # {public name: class or function}, each once
    each: f"{package}.{name}"
    for package in reversed(PACKAGES)
    for name in getattr(importlib.import_module(package), "__all__", ())
    for each in [getattr(sys.modules[package], name)]
    if inspect.isclass(each) or inspect.isfunction(each)
}
PUBLIC = {name: each for each, name in PUBLIC.items()}
# One of each kind of function whose docstring is put together at run time, which
# `doctest.testmod` doesn't find. The others differ in size alone, and the largest takes seconds.
MADE = (keras_paca.PaCaTiny, segmentation.PaCaTinySegmenter, detection.PaCaTinyMaskRCNN)

TYPES = {
    *("None", "array", "bool", "dict", "float", "int", "list", "str", "tuple", "type"),
    *("Callable", "Collection", "Iterable", "Mapping", "Sequence"),
    *("KerasTensor", "Path", "Tensor", "os.PathLike", "PIL.Image.Image"),
}
# such as "int", "dict of str to float", "(int, int)", "str, Path or None"
NAME = r"[A-Za-z][\w.]*\w"
ITEM = rf"(?:{NAME}|\({NAME}(?:, {NAME})*\))"
TYPE = re.compile(rf"({ITEM}(?:(?:, | or | of | to ){ITEM})*)\.\s+\S.*\.\Z", re.DOTALL)


@pytest.fixture(autouse=True)
def _registries(monkeypatch):
    """Forget the files and the variants that examples register."""
    monkeypatch.setattr(released, "_registered", dict(released._registered))
    monkeypatch.setattr(keras_paca.PaCaViT, "variants", dict(keras_paca.PaCaViT.variants))


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


@slow_but_on_torch
@pytest.mark.parametrize("function", MADE, ids=lambda function: function.__name__)
def test_examples_of_made_functions(function):
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(function), {}, function.__name__, None, None
    )
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@slow_but_on_torch
def test_one_of_each_kind_of_made_functions_runs():
    def is_made(each):
        return inspect.isfunction(each) and each.__globals__ is not vars(
            sys.modules[each.__module__]
        )

    kinds = {each.__module__ for each in PUBLIC.values() if is_made(each)}
    assert kinds == {each.__module__ for each in MADE}


@slow_but_on_torch
@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstring_is_complete(name):
    """It has an example, and it describes every argument and says its type."""
    each = PUBLIC[name]
    docstring = inspect.cleandoc(each.__doc__ or "")
    _, _, example = docstring.partition("\nExample:\n")
    assert ">>> " in example

    try:
        parameters = inspect.signature(each).parameters.values()
    except ValueError:  # of an exception, a warning or a dict, whose constructors are in C
        parameters = ()
    described = read_args(docstring.replace("Attributes:", "Args:"))  # dataclasses have attributes
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    faults = [
        f"{parameter.name}: {described.get(parameter.name)}"
        for parameter in parameters
        if parameter.kind not in various and not _is_typed(described.get(parameter.name, ""))
    ]
    assert not faults, "\n".join(["Not described as `name: type. Sentence.`:", *faults])


def _is_typed(description):
    found = TYPE.match(description)
    library = {each.__name__ for each in PUBLIC.values() if inspect.isclass(each)}
    return bool(found) and all(
        word in TYPES | library | {"of", "or", "to"} or word.startswith(("keras.", "np."))
        for word in re.findall(NAME, found[1])
    )
