"""The examples in docstrings run as they stand, and the docstrings are complete."""

import doctest
import importlib
import inspect
import pkgutil
import re
import sys

import keras
import pytest

import keras_paca
from keras_paca import detection, segmentation
from keras_paca.backbones.documentation import read_args
from keras_paca.weights import released
from tests.marks import slow_but_on_tensorflow, slow_but_on_torch, with_tensorflow

# Modules whose examples need TensorFlow beside any backend, and those that need it as the backend.
EXPORTS = [
    f"keras_paca.deploy.{name}" for name in ("check", "exports", "formats", "litert_operators")
]
CONVERTERS = [
    f"keras_paca.deploy.{name}" for name in ("norms", "write", "write_int8", "write_onnx")
]
LATENCY = "keras_paca.deploy.latency"
HUB = "keras_paca.hub"  # KerasHub's environment runs its examples, in tests/plugins
PACKAGED = [module.name for module in pkgutil.walk_packages(keras_paca.__path__, "keras_paca.")]
MODULES = [
    name
    for name in ("keras_paca_cli", "keras_paca", *PACKAGED)
    if name not in (*EXPORTS, *CONVERTERS, LATENCY, HUB)
]


def _names_of(module):
    """Return the classes and functions that a module defines, by their full names."""
    return {
        f"{module.__name__}.{name}": each
        for name, each in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(each) or inspect.isfunction(inspect.unwrap(each)))
        and each.__module__ == module.__name__
    }


PUBLIC = {  # {full name: class or function} of all modules
    name: each
    for module in ("keras_paca", *PACKAGED)
    if module != HUB
    for name, each in _names_of(importlib.import_module(module)).items()
}
# Names, or modules, whose arguments are described elsewhere.
DESCRIBED_ELSEWHERE = {
    "keras_paca.backbones.variants.shared_parameters": "`Backbone` describes the others",
    "keras_paca.inference.twins": "the arguments are those of the layers",
    "keras_paca.layers.dense.Dense": "the arguments are those of `keras.layers.Dense`",
}
# One of each kind of function whose docstring is put together at run time, which
# `doctest.testmod` doesn't find. The others differ in size alone, and the largest takes seconds.
MADE = (
    keras_paca.PaCaTiny,
    keras_paca.RapidNetTi,
    keras_paca.ViTTMTiny,
    keras_paca.ResNet50AN,
    keras_paca.MobileNetV2AN,
    keras_paca.DenseNet121AN,
    keras_paca.CastlingViTTiny,
    segmentation.PaCaTinySegmenter,
    segmentation.RapidNetMSegmenter,
    segmentation.ViTTMSmallSegmenter,
    detection.PaCaTinyMaskRCNN,
)

TYPES = {
    *("None", "array", "bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple"),
    *("type", "object", "Any", "BinaryIO", "Callable", "Collection", "DTypePolicy", "Exception"),
    *("Iterable", "KerasTensor", "Mapping", "Path", "PIL.Image.Image", "Sequence", "Tensor"),
    *("argparse.Namespace", "inspect.Parameter", "os.PathLike"),
    *("tf2onnx.graph.Graph", "tf2onnx.graph.Node"),
}
# such as "int", "dict of str to float", "(int, int)", "str, Path or None"
NAME = r"[A-Za-z][\w.]*\w"
ITEM = rf"(?:{NAME}|\({NAME}(?:, {NAME})*\))"
TYPE = re.compile(
    rf"({ITEM}(?:(?:, | or | of | to ){ITEM})*)(?:\.\s+\S.*| of shape \(.*)\.\Z", re.DOTALL
)


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


@slow_but_on_tensorflow
@with_tensorflow
@pytest.mark.filterwarnings("ignore")  # of the converters
@pytest.mark.parametrize("name", EXPORTS)
def test_examples_of_exports(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow's backend")
@pytest.mark.filterwarnings("ignore")  # of the converters
@pytest.mark.parametrize("name", CONVERTERS)
def test_examples_of_converters(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
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
        function = inspect.unwrap(each)  # such as what a context manager is made of
        return inspect.isfunction(function) and function.__globals__ is not vars(
            sys.modules[each.__module__]
        )

    kinds = {each.__module__ for each in PUBLIC.values() if is_made(each)}
    assert kinds == {each.__module__ for each in MADE}


@slow_but_on_torch
@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_is_complete(name):
    """It has an example, and it describes every argument and says its type."""
    each = PUBLIC[name]
    docstring = inspect.cleandoc(each.__doc__ or "")
    _, _, example = docstring.partition("\nExample:\n")
    assert ">>> " in example

    if name.startswith(tuple(DESCRIBED_ELSEWHERE)):
        return
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
    classes = {each.__name__ for each in PUBLIC.values() if inspect.isclass(each)}
    known = {word.lower() for word in TYPES | classes | {"of", "or", "to"}}  # as in "Tensor or int"
    return bool(found) and all(
        word.lower() in known or word.startswith(("keras.", "np.", "numpy."))
        for word in re.findall(NAME, found[1])
    )
