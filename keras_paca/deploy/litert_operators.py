"""The operators of a LiteRT file, and which of them compute in floating point."""

import dataclasses
import functools
import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_paca.deploy.litert_file import is_litert
from keras_paca.extras import install_command

# Where the classes that read LiteRT's flatbuffer are, which are generated from its schema.
SCHEMAS = (
    ("ai_edge_litert", "ai_edge_litert.schema_py_generated"),
    ("tensorflow", "tensorflow.lite.python.schema_py_generated"),
)
FLOATS = ("float16", "bfloat16", "float32", "float64")
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")  # from one type to another; they compute nothing


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of a LiteRT file.

    Attributes:
        name: str. Such as "CONV_2D".
        inputs: tuple of str. The dtypes of its inputs, such as ("int8", "int8", "int32").
        outputs: tuple of str. The dtypes of its outputs.
        is_last: bool. Whether all its outputs are outputs of the file.

    Example:
    >>> Operator("SOFTMAX", ("float32",), ("float32",), is_last=True).is_float
    True
    >>> Operator("DEQUANTIZE", ("int8",), ("float32",), is_last=False).is_float
    False
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_last: bool

    @property
    def is_float(self) -> bool:
        """Whether it computes in floating point, which a conversion of types doesn't."""
        is_conversion = self.name in CONVERSIONS
        return not is_conversion and not {*self.inputs, *self.outputs}.isdisjoint(FLOATS)


def float_operators(path: str | Path) -> list[str]:
    """Return the names of the operators of a LiteRT file that compute in floating point.

    Those that only convert a type, `QUANTIZE` and `DEQUANTIZE`, aren't among them.

    Args:
        path: str or Path. A LiteRT file, from `keras_paca.export` or from elsewhere.

    Returns:
        list of str. The names in the order in which the file computes. One that computes several
        times in floating point is there as often.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ValueError: If it isn't a LiteRT file.
        ImportError: If neither ai-edge-litert nor TensorFlow is installed.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import keras_paca
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/model.tflite"
    ...     _ = keras_paca.export(model, path, check=False, verbose=False)
    ...     float_operators(path)
    ['CONV_2D']
    """
    path = Path(path)
    if not is_litert(path):
        raise ValueError(f"`path` must be a LiteRT file. Received: path={str(path)!r}")
    return [each.name for each in read_operators(path.read_bytes()) if each.is_float]


def read_operators(model: bytes) -> list[Operator]:
    """Return the operators of a LiteRT file in the order in which it computes.

    Args:
        model: bytes. The content of the file.

    Returns:
        list of Operator. Those of all its subgraphs.

    Raises:
        ImportError: If neither ai-edge-litert nor TensorFlow is installed.

    Example:
    >>> import struct
    >>> read_operators(struct.pack("<I4s8H4I", 24, b"TFL3", 14, 12, 4, 0, 0, 0, 8, 0, 16, 3, 4, 0))
    []
    """
    schema = _schema()
    names, types = (_names(each) for each in (schema.BuiltinOperator, schema.TensorType))
    root = schema.Model.GetRootAs(model)
    found = []
    for i in range(root.SubgraphsLength()):
        graph = root.Subgraphs(i)
        dtypes = [types[graph.Tensors(k).Type()].lower() for k in range(graph.TensorsLength())]
        last = {graph.Outputs(k) for k in range(graph.OutputsLength())}
        for k in range(graph.OperatorsLength()):
            operator = graph.Operators(k)
            code = root.OperatorCodes(operator.OpcodeIndex())
            inputs = [operator.Inputs(n) for n in range(operator.InputsLength())]
            outputs = [operator.Outputs(n) for n in range(operator.OutputsLength())]
            found.append(
                Operator(
                    # the first field is older, of one byte, and holds 127 where that is too small
                    names[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())],
                    tuple(dtypes[n] for n in inputs if n >= 0),  # -1 where there is none
                    tuple(dtypes[n] for n in outputs),
                    is_last=last.issuperset(outputs),
                )
            )
    return found


@functools.cache
def _schema() -> Any:
    """Return the module that reads LiteRT's flatbuffer."""
    for package, module in SCHEMAS:
        if find_spec(package) is not None:
            return importlib.import_module(module)
    raise ImportError(
        "The operators of a LiteRT file can be read where ai-edge-litert or TensorFlow is "
        f"installed: {install_command('litert')}"
    )


def _names(numbers: type) -> dict[int, str]:
    """Return the names of the numbers that a class of constants holds."""
    return {value: name for name, value in vars(numbers).items() if isinstance(value, int)}
