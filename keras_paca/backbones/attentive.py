"""What the families with attentive normalization share (Li, Sun and Wu, ECCV 2020)."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_paca import weights
from keras_paca.backbones.base import POOLS, Backbone
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.layers.initializers import HostNormal
from keras_paca.layers.policies import exact_dtype


def classifier_initializer() -> keras.initializers.Initializer:
    """Return the initializer N(0, 0.01) of the classifiers.

    Example:
    >>> classifier_initializer().stddev
    0.01
    """
    return HostNormal(stddev=0.01)


class AttentiveBackbone(Backbone):
    """Base class of the families with attentive normalization.

    Their options include `dropout`, the rate of dropout before the classifier.

    Args:
        x: filled in by the base.

    Example:
    >>> from keras_paca import ResNetAN
    >>> issubclass(ResNetAN, AttentiveBackbone)
    True
    """

    variant_options = ("drop_path_rate", "dropout", "remat")
    top_options = ("dropout",)
    lora_layers = ("conv",)
    classifier_initializer = staticmethod(classifier_initializer)
    unreleased = (
        "The authors' files lie on Google Drive, under a licence for research alone, and aren't "
        "downloaded by name. If that licence covers your use, download the file by hand, from a "
        "link at https://github.com/iVMCL/AOGNet-v2 or https://github.com/iVMCL/iVMCL-Release, and "
        "pass its path as `weights`."
    )
    files_licence = "research alone, not downloaded"

    def pool(self, x: Any, config: Mapping[str, Any], make: GraphMaker) -> Any:
        """Return the vector before the classifier: the mean of a map, and dropout of it.

        Args:
            x: KerasTensor. The map (b, h, w, c).
            config: dict. The options of the family and those that all share.
            make: GraphMaker. Creates each layer.
        """
        if not config["dropout"]:
            return x  # the base class computes the mean
        options = {"data_format": "channels_last", "dtype": exact_dtype(make.policy)}
        x = make(POOLS["avg"], "avg_pool", **options)(x)
        x = make(keras.layers.Dropout, "dropout", config["dropout"])(x)
        return {next(iter(self.classifiers(config).values())): x}


def tensors_of_backbone(checkpoint: weights.Checkpoint) -> dict[str, np.ndarray]:
    """Return the tensors of a file by their keys, those of a detector's backbone without its name.

    Args:
        checkpoint: Checkpoint. What `weights.open_checkpoint` returned.

    Example:
    >>> file = weights.Checkpoint("example.pth", True, {"backbone.bn1.bias": np.zeros(3)})
    >>> list(tensors_of_backbone(file))
    ['bn1.bias']
    """
    return {key.removeprefix("backbone."): array for key, array in checkpoint.tensors.items()}


def find_mixtures(
    tensors: Mapping[str, np.ndarray], pattern: str
) -> dict[tuple[int, ...], tuple[int, int]]:
    r"""Return the sizes of the attentive normalizations in a file.

    Args:
        tensors: dict. The arrays of a file by their keys.
        pattern: str. A regular expression for the keys of their scales, whose groups are numbers
            such as those of the stage and the block.

    Returns:
        dict. {the numbers: (mixtures, channels)}, in the order of the numbers.

    Example:
    >>> find_mixtures({"layer1.0.bn2.weight_": np.zeros((10, 64))}, r"layer(\d)\.(\d)\.bn2.weight_")
    {(1, 0): (10, 64)}
    """
    matches = {key: match for key in tensors if (match := re.fullmatch(pattern, key))}
    found = {
        tuple(int(number) for number in match.groups()): tuple(map(int, tensors[key].shape))
        for key, match in matches.items()
    }
    return dict(sorted(found.items()))
