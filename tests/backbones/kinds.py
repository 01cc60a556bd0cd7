"""The kinds of models that have the same base."""

import keras
import pytest

KINDS = ("classifier", "segmenter", "detector")


each_kind = pytest.mark.parametrize("kind", KINDS)


def compile_model(model, kind, optimizer="sgd"):
    options = {} if kind != "classifier" else {"loss": "sparse_categorical_crossentropy"}
    jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(optimizer, **options, **jit)
    return model
