"""Stand-ins for the released files: official keys and shapes, seeded numbers."""

import functools

import numpy as np

from keras_paca import PaCaBase, PaCaSmall, PaCaTiny
from keras_paca.weights.loader import model_variables
from tests.parity import recipe
from tests.torch_writer import save_zip

FACTORIES = {"tiny": PaCaTiny, "small": PaCaSmall, "base": PaCaBase}


def official_checkpoint(model, seed=0):
    """Return the tensors of an official checkpoint for a model."""
    variables = model_variables(model)
    tensors = {}
    for key, entry in model.checkpoint_map(model.get_config()).items():
        tensors[key] = recipe.fill(key, entry.official_shape(variables), seed)
    if model.get_config()["clustering"] == "teacher":
        for stage, channels in enumerate(model.hidden_dims[:-1], start=1):
            key = f"paca_teacher.transition{stage}"
            tensors[f"{key}.0.blur_filter"] = recipe.fill("blur_filter", (channels, 1, 3, 3))
            tensors[f"{key}.2.num_batches_tracked"] = np.zeros((), "int64")
    return tensors


@functools.cache
def released_tensors(size, clustering="conv", clusters=None, blockwise=False, seed=0):
    """Return what a released ImageNet file of that variant would hold."""
    model = FACTORIES[size](
        weights=None,
        clustering=clustering,
        clusters=clusters,
        cluster_every=1 if blockwise else None,
    )
    return official_checkpoint(model, seed)


def write_released(path, tensors):
    """Write a file as the authors did: the state dict among training state."""
    save_zip(path, {"epoch": 299, "arch": "pacavit", "state_dict": tensors, "metric": 80.9})
