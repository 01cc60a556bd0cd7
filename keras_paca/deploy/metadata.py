"""Metadata of exported files, in the place that each format has for it."""

import json
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from keras_paca.deploy import litert_file
from keras_paca.deploy.describe import RGB, describe_config
from keras_paca.extras import install_command

METADATA_KEY = "keras_paca"
METADATA_FILE, LABELS_FILE = "keras_paca.json", "labels.txt"
SAVED_MODEL_FOLDER = "assets.extra"  # in a SavedModel, for files that its runtime doesn't read
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_metadata(path: Path, format: str, metadata: dict[str, Any], name: str = "") -> None:
    """Write metadata into an exported file.

    All of it is written as JSON under the name "keras_paca", and the class names once more where
    the format's own tools look for them.

    Args:
        path: Path. The file, or the folder of a SavedModel.
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        metadata: dict. What `describe` returns.
        name: str. The model's name.

    Example:
    >>> import tempfile
    >>> metadata = {"task": "classification", "class_names": ["ant", "bee"]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_metadata(Path(folder), "tf_saved_model", metadata)
    ...     read_metadata(folder)
    {'task': 'classification', 'class_names': ['ant', 'bee']}
    """
    writers = {
        "tf_saved_model": _write_saved_model,
        "litert": _write_litert,
        "onnx": _write_onnx,
        "openvino": _write_openvino,
    }
    writers[format](path, metadata, name)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a model's file: its class names, its transform, its task.

    It needs neither TensorFlow nor LiteRT nor OpenVINO; for an ONNX file it needs the package onnx
    or onnxruntime.

    Args:
        path: str or Path. A file that `keras_paca.export` wrote (".tflite", ".onnx", ".xml" or the
            folder of a SavedModel), or a model saved as ".keras".

    Returns:
        dict. "class_names" (list of str or `None`), "evaluation_transform" (dict or `None`),
        "task" ("classification", "segmentation", "detection", "features" or `None`), "input"
        ("RGB 0..255", "normalised" or `None`), "num_classes" (int or `None`); for a segmenter
        "ignore_class", for a detector "bounding_box_format"; for an exported file
        "keras_paca_version". It is empty for a file without such metadata.

    Raises:
        FileNotFoundError: If there is no file or folder at `path`.
        ValueError: If `path` has another suffix, or the file isn't one of that format.
        ImportError: If neither onnx nor onnxruntime is installed, for an ONNX file.

    Example:
    >>> import tempfile
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.keras")
    ...     found = keras_paca.deploy.read_metadata(f"{folder}/model.keras")
    >>> found["task"], found["num_classes"], found["input"]
    ('classification', 2, 'RGB 0..255')
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"No such file or folder: {path}")
    readers = {
        ".tflite": _read_litert,
        ".onnx": _read_onnx,
        ".xml": _read_openvino,
        ".keras": _read_keras,
    }
    read = _read_saved_model if path.is_dir() else readers.get(path.suffix.lower())
    if read is None:
        raise ValueError(
            f"`path` must end in one of {list(readers)}, or be the folder of a SavedModel. "
            f"Received: path={str(path)!r}"
        )
    try:
        return read(path)
    except (ImportError, OSError):
        raise
    except Exception as error:  # of every kind, by the format and what is wrong
        raise ValueError(f"{path} can't be read as {path.suffix or 'a SavedModel'}") from error


def _encode(metadata: dict[str, Any]) -> str:
    """Return JSON; unpaired surrogates, as in names of broken files, are escaped."""
    text = json.dumps(metadata, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _labels(metadata: dict[str, Any]) -> str | None:
    """Return the class names, one on each line."""
    names = metadata.get("class_names")
    if names is None:
        return None
    lines = "".join(" ".join(name.splitlines()) + "\n" for name in names)
    return lines.encode("utf-8", "backslashreplace").decode()


def _files(metadata: dict[str, Any]) -> dict[str, bytes]:
    """Return the files that hold metadata, by name."""
    texts = {METADATA_FILE: _encode(metadata), LABELS_FILE: _labels(metadata)}
    return {name: text.encode() for name, text in texts.items() if text is not None}


# --- SavedModel -------------------------------------------------------------------------------


def _write_saved_model(path: Path, metadata: dict, name: str) -> None:
    (path / SAVED_MODEL_FOLDER).mkdir(exist_ok=True)
    for file, content in _files(metadata).items():
        (path / SAVED_MODEL_FOLDER / file).write_bytes(content)


def _read_saved_model(path: Path) -> dict:
    file = path / SAVED_MODEL_FOLDER / METADATA_FILE
    return json.loads(file.read_bytes()) if file.exists() else {}


# --- LiteRT -----------------------------------------------------------------------------------


def _write_litert(path: Path, metadata: dict, name: str) -> None:
    files = _files(metadata)
    entries = {METADATA_KEY: files[METADATA_FILE]}
    if metadata["input"] == RGB and metadata["task"] in ("classification", "segmentation"):
        labels = LABELS_FILE if LABELS_FILE in files else None
        entries["TFLITE_METADATA"] = litert_file.tools_metadata(name, labels)
    path.write_bytes(litert_file.add_entries(path.read_bytes(), entries))
    litert_file.append_files(path, files)


def _read_litert(path: Path) -> dict:
    if not litert_file.is_litert(path):
        raise ValueError("This is no LiteRT file.")
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        found = METADATA_FILE in archive.namelist()
        return json.loads(archive.read(METADATA_FILE)) if found else {}


# --- ONNX -------------------------------------------------------------------------------------


def _write_onnx(path: Path, metadata: dict, name: str) -> None:
    import onnx

    properties = {METADATA_KEY: _encode(metadata)}
    if metadata["class_names"] is not None:
        names = dict(enumerate(metadata["class_names"]))
        properties["names"] = str(names)  # which Ultralytics and others read by `literal_eval`
        properties["class_names"] = _encode(names)  # and others as JSON
    model = onnx.load(str(path))
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))


def _read_onnx(path: Path) -> dict:
    if find_spec("onnx") is not None:
        import onnx

        model = onnx.load(str(path), load_external_data=False)
        properties = {each.key: each.value for each in model.metadata_props}
    elif find_spec("onnxruntime") is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        properties = session.get_modelmeta().custom_metadata_map
    else:
        raise ImportError(f"Reading ONNX needs onnx or onnxruntime: {install_command('onnx')}")
    return json.loads(properties.get(METADATA_KEY, "{}"))


# --- OpenVINO ---------------------------------------------------------------------------------


def _write_openvino(path: Path, metadata: dict, name: str) -> None:
    tree = ElementTree.parse(path)
    info = tree.getroot().find("rt_info")
    if info is None:
        info = ElementTree.SubElement(tree.getroot(), "rt_info")
    ElementTree.SubElement(info, METADATA_KEY, value=_for_xml(_encode(metadata)))
    known = {}
    if metadata["task"] == "classification":
        known["model_type"] = "Classification"
    if metadata["class_names"] is not None:  # separated by spaces, in OpenVINO's Model API
        names = _labels(metadata).splitlines()
        known["labels"] = " ".join("_".join(each.split()) or "_" for each in names)
    if known:
        model_info = ElementTree.SubElement(info, "model_info")
        for key, value in known.items():
            ElementTree.SubElement(model_info, key, value=_for_xml(value))
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _for_xml(text: str) -> str:
    """Return text with JSON's escapes in place of characters that XML can't hold."""
    return NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _read_openvino(path: Path) -> dict:
    entry = ElementTree.parse(path).getroot().find(f"rt_info/{METADATA_KEY}")
    return {} if entry is None else json.loads(entry.get("value", "{}"))


# --- Keras ------------------------------------------------------------------------------------


def _read_keras(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return describe_config(json.loads(archive.read("config.json")))
