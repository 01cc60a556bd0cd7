"""Docstrings and signatures that are put together."""

import inspect

import pytest

from keras_paca.backbones.documentation import (
    join_parameters,
    make_function,
    read_args,
    with_args,
    write_args,
)

DOCSTRING = """Do something.

    More words.

    Args:
        x: int. A number
            in two lines.
        *more: Further numbers.
        **options: As for `dict`.

    Returns:
        int.

    Example:
    >>> 1 + 1
    2
    """
ARGS = {
    "x": "int. A number\n    in two lines.",
    "*more": "Further numbers.",
    "**options": "As for `dict`.",
}


def parameter(name, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD, **more):
    return inspect.Parameter(name, kind, **more)


def test_arguments_are_read_and_written():
    assert read_args(DOCSTRING) == ARGS
    assert read_args(f"Do.\n\n{write_args(ARGS)}") == ARGS
    assert list(read_args(DOCSTRING)) == list(ARGS)
    assert read_args("Do something.") == read_args(None) == {}


def test_other_arguments_in_a_docstring():
    changed = with_args(DOCSTRING, {"y": "float. Another\n    one."})
    assert read_args(changed) == {"y": "float. Another\n    one."}
    assert with_args(changed, ARGS) == inspect.cleandoc(DOCSTRING)
    changed = with_args("Do.\n\nArgs:\n    x: int.", {"y": "str."})
    assert changed.strip() == "Do.\n\nArgs:\n    y: str."


def test_parameters_are_joined_in_an_order_that_python_allows():
    by_name = inspect.Parameter.KEYWORD_ONLY
    first = [parameter("a", default=1), parameter("dtype", by_name, default=None)]
    second = [parameter("b", default=2), parameter("a", default=3)]
    joined = join_parameters(first, second)
    assert str(inspect.Signature(joined)) == "(a=1, b=2, *, dtype=None)"


def test_a_function_that_was_put_together():
    parameters = [
        parameter("x", annotation=int),
        parameter("y", inspect.Parameter.KEYWORD_ONLY, default=2, annotation=float | None),
    ]
    function = make_function("make", parameters, "Make.", "a.module", lambda **given: given, dict)
    assert function(1) == function(x=1) == {"x": 1, "y": 2}
    assert function(1, y=3) == {"x": 1, "y": 3}
    assert (function.__name__, function.__module__) == ("make", "a.module")
    assert inspect.getdoc(function) == "Make."
    assert str(inspect.signature(function)) == "(x: int, *, y: float | None = 2) -> dict"
    assert function.__annotations__ == {"x": int, "y": float | None, "return": dict}
    for wrong in ({"z": 1}, {}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError, match=r"^make\(\) "):
            function(**wrong)
