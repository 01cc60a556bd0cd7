"""What the families with attentive normalization share (Li, Sun and Wu, ECCV 2020)."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_paca.backbones.base import Backbone
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.backbones.per_stage import STAGES
from keras_paca.layers.initializers import HostNormal


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

    def classify(
        self, name: str, features: Any, activation: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> Any:
        """Apply dropout and a classifier; see `Backbone`."""
        if config["dropout"]:
            features = make(keras.layers.Dropout, "dropout", config["dropout"])(features)
        return super().classify(name, features, activation, config, make)


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


def mixtures_of_stages(
    tensors: Mapping[str, np.ndarray], pattern: str
) -> list[list[tuple[int, int]]]:
    r"""Return the sizes of the attentive normalizations in a file by stage.

    Args:
        tensors: dict. The arrays of a file by their keys.
        pattern: str. As for `find_mixtures`, with the numbers of the stage, from 1, and the block.

    Returns:
        list. Per stage, (mixtures, channels) of each block.

    Example:
    >>> tensors = {"layer1.0.bn2.weight_": np.zeros((10, 64))}
    >>> mixtures_of_stages(tensors, r"layer(\d)\.(\d)\.bn2.weight_")
    [[(10, 64)], [], [], []]
    """
    found = find_mixtures(tensors, pattern)
    return [[size for (n, _), size in found.items() if n == i] for i in range(1, STAGES + 1)]
