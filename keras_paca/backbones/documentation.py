"""Docstrings and signatures of classes and functions whose arguments are described elsewhere.

An argument that many models have is described once. The functions here collect the descriptions and
the parameters, so that `help`, `inspect.signature` and editors show all of them.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SECTION = re.compile(r"^Args:\n(.*?)(?=^\S)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^    (\*{0,2}\w+): (.*?)(?=^    \S|\Z)", re.MULTILINE | re.DOTALL)


def read_args(docstring: str | None) -> dict[str, str]:
    r"""Return the descriptions in a docstring's `Args` by argument.

    Args:
        docstring: str. A docstring in Google's style.

    Example:
    >>> read_args("Do.\n\nArgs:\n    x: int. A number.\n        More of it.\n\nReturns:\n    y")
    {'x': 'int. A number.\n    More of it.'}
    """
    section = _SECTION.search(f"{inspect.cleandoc(docstring or '')}\n.")
    found = _ENTRY.findall(section[1]) if section else []
    return {name: text.strip().replace("\n    ", "\n") for name, text in found}


def read_source(docstring: str | None) -> str:
    r"""Return the paragraph of a docstring that begins with "Source:", or "".

    Args:
        docstring: str. A docstring.

    Example:
    >>> read_source("Do.\n\nSource: a paper,\nof a year.\n\nExample:\n>>> 1")
    'Source: a paper,\nof a year.'
    """
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return next((each for each in paragraphs if each.startswith("Source:")), "")


def write_args(descriptions: Mapping[str, str]) -> str:
    r"""Return the `Args` of a docstring; the inverse of `read_args`.

    Args:
        descriptions: dict. {argument: description}.

    Example:
    >>> write_args({"x": "int. A number."})
    'Args:\n    x: int. A number.'
    """
    lines = [f"    {name}: {text}".replace("\n", "\n    ") for name, text in descriptions.items()]
    return "\n".join(["Args:", *lines])


def with_args(docstring: str, descriptions: Mapping[str, str]) -> str:
    r"""Return a docstring with other `Args`.

    Args:
        docstring: str. A docstring that has `Args`.
        descriptions: dict. {argument: description}.

    Example:
    >>> with_args("Do.\n\nArgs:\n    x: int.\n", {"y": "str. A name."})
    'Do.\n\nArgs:\n    y: str. A name.\n'
    """
    text = f"{inspect.cleandoc(docstring)}\n."
    return _SECTION.sub(lambda found: f"{write_args(descriptions)}\n\n", text, count=1)[:-2]


def join_parameters(*groups: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return parameters in an order that Python allows: keyword-only parameters come last.

    Args:
        *groups: Iterable of inspect.Parameter. Of parameters with the same name, the first is used.

    Example:
    >>> own = inspect.signature(lambda depths=1: None).parameters.values()
    >>> shared = inspect.signature(lambda classes, *, name=None: None).parameters.values()
    >>> str(inspect.Signature(join_parameters(own, shared)))
    '(depths=1, *, classes, name=None)'
    """
    found: dict[str, inspect.Parameter] = {}
    has_default = False
    for parameter in (each for group in groups for each in group):
        if parameter.name in found:
            continue
        if has_default and parameter.default is parameter.empty:
            parameter = parameter.replace(kind=parameter.KEYWORD_ONLY)
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            has_default = parameter.default is not parameter.empty
        found[parameter.name] = parameter
    return sorted(found.values(), key=lambda each: each.kind)


def make_function(
    name: str,
    parameters: Iterable[inspect.Parameter],
    docstring: str,
    module: str,
    build: Callable[..., Any],
    returns: Any,
) -> Callable[..., Any]:
    """Return a function with a given signature and docstring.

    Args:
        name: str. Name of the function.
        parameters: Iterable of inspect.Parameter. Its parameters.
        docstring: str. Its docstring.
        module: str. Name of the module that it belongs to.
        build: Callable. The function calls it with all arguments by keyword, defaults included, and
            returns its result.
        returns: type. Class of the result.

    Example:
    >>> x = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=1)
    >>> double = make_function("double", [x], "Double.", "m", lambda x: 2 * x, int)
    >>> double(3), str(inspect.signature(double))
    (6, '(x=1) -> int')
    """
    signature = inspect.Signature(list(parameters), return_annotation=returns)

    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}() {error}") from None
        bound.apply_defaults()
        return build(**bound.arguments)

    function.__name__ = function.__qualname__ = name
    function.__module__, function.__doc__ = module, docstring
    function.__signature__ = signature
    function.__annotations__ = {
        **{each.name: each.annotation for each in signature.parameters.values()},
        "return": returns,
    }
    return function
