"""Released files, safe readers and the strict loader: files and arrays, no models."""

from keras_paca.weights.cache import fetch, verify_cache
from keras_paca.weights.checkpoint import write_safetensors
from keras_paca.weights.keras_file import read_keras_config
from keras_paca.weights.loader import (
    Entry,
    JoinedEntry,
    KeyMap,
    expected_shapes,
    load_keras,
    load_official,
    model_variables,
    to_official,
    warn_fresh,
)
from keras_paca.weights.released import ReleasedFile, register_released_file, released_files
from keras_paca.weights.source import Checkpoint, open_checkpoint

__all__ = [
    "Checkpoint",
    "Entry",
    "JoinedEntry",
    "KeyMap",
    "ReleasedFile",
    "expected_shapes",
    "fetch",
    "load_keras",
    "load_official",
    "model_variables",
    "open_checkpoint",
    "read_keras_config",
    "register_released_file",
    "released_files",
    "to_official",
    "verify_cache",
    "warn_fresh",
    "write_safetensors",
]
