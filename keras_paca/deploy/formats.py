"""The formats that models are exported to: their names, suffixes and packages."""

from importlib.util import find_spec
from pathlib import Path

from keras_paca.extras import install_command

SUFFIXES = {"tf_saved_model": "", "litert": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
ALIASES = {"saved_model": "tf_saved_model", "tflite": "litert"}
# The packages that write a format, besides Keras, and the one that runs it.
WRITERS = {
    "tf_saved_model": ("tensorflow",),
    "litert": ("tensorflow",),
    "onnx": ("tensorflow", "tf2onnx"),
    "openvino": ("tensorflow", "openvino"),
}
RUNTIMES = {
    "tf_saved_model": "tensorflow",
    "litert": "ai_edge_litert",
    "onnx": "onnxruntime",
    "openvino": "openvino",
}
EXTRAS = {
    "tf_saved_model": "tensorflow",
    "litert": "tensorflow,litert",
    "onnx": "tensorflow,onnx",
    "openvino": "tensorflow,openvino",
}
# The folder of a SavedModel may be called "model-0.3", but must not look like another kind of file.
OTHER_SUFFIXES = (".keras", ".h5", ".hdf5", ".pb", ".pt", ".pth", ".safetensors", ".json", ".zip")


def resolve_format(path: Path, format: str | None = None) -> str:
    """Return the name of the format in which a file is to be written.

    Args:
        path: Path. The file, whose suffix may be in capitals, or the folder of a SavedModel.
        format: str. A format's name or alias, with any capitals, hyphens and underscores; by
            default the path's suffix decides.

    Returns:
        str. A key of `SUFFIXES`.

    Raises:
        ValueError: If there is no such format, or the path has another suffix.

    Example:
    >>> resolve_format(Path("model.tflite"))
    'litert'
    >>> resolve_format(Path("model-0.3"), "SavedModel")
    'tf_saved_model'
    """
    name = _by_suffix(path) if format is None else _by_name(format)
    expected, suffix = SUFFIXES[name], path.suffix.lower()
    others = (*OTHER_SUFFIXES, *filter(None, SUFFIXES.values()))
    if suffix != expected and (expected or suffix in others):
        wanted = (
            f"end in {expected!r}"
            if expected
            else "be the name of a folder, without a file's suffix,"
        )
        raise ValueError(
            f"`path` must {wanted} for {name}. Received: path={str(path)!r}, format={format!r}"
        )
    return name


def _by_suffix(path: Path) -> str:
    """Return the format whose suffix a path has."""
    found = {suffix: name for name, suffix in SUFFIXES.items()}
    if path.suffix.lower() in found and path.name not in found:  # ".onnx" is no name
        return found[path.suffix.lower()]
    known = ", ".join(f"{suffix!r} ({name})" for name, suffix in SUFFIXES.items() if suffix)
    raise ValueError(
        f"`path` must end in {known} or have no suffix (tf_saved_model) where `format` isn't "
        f"given. Received: path={str(path)!r}"
    )


def _by_name(format: str) -> str:
    """Return the format of a name, whatever its capitals, hyphens and underscores."""
    names = {_plain(name): name for name in SUFFIXES}
    names |= {_plain(alias): name for alias, name in ALIASES.items()}
    name = names.get(_plain(format)) if isinstance(format, str) else None
    if name is None:
        raise ValueError(
            f"`format` must be one of {[*SUFFIXES, *ALIASES]}. Received: format={format!r}"
        )
    return name


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def check_installed(format: str, check: bool) -> None:
    """Raise an error if a package that writes or runs a format is missing.

    Otherwise the converter would fail later, with a message that doesn't name the package.

    Args:
        format: str. A key of `SUFFIXES`.
        check: bool. Whether the file's runtime is needed too.

    Raises:
        ImportError: If a package is missing. The message has the command that installs it.

    Example:
    >>> check_installed("tf_saved_model", check=True)  # where TensorFlow is installed
    """
    needed = [*WRITERS[format], *([RUNTIMES[format]] if check else [])]
    missing = [name for name in dict.fromkeys(needed) if find_spec(name) is None]
    if missing:
        raise ImportError(f"{format} needs {', '.join(missing)}: {install_command(EXTRAS[format])}")
