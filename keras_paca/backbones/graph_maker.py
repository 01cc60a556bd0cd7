"""How the graph of a family makes its layers and normalises the images."""

from typing import Any

import keras

from keras_paca.layers.base import LayerMaker
from keras_paca.layers.policies import exact_dtype

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for RGB in 0..1
NORMALIZATIONS = {"imagenet": (MEAN, STD), "symmetric": ((0.5,) * 3, (0.5,) * 3)}


class GraphMaker(LayerMaker):
    """Creates the layers of a family's graph.

    Args:
        policy: DTypePolicy. The policy that the model was given.
        normalisation: tuple. Mean and deviation of images in 0..1, per channel, or `None` for a
            model that takes normalised images.

    Example:
    >>> make = GraphMaker(keras.dtype_policies.get("float32"), normalisation=(MEAN, STD))
    >>> images = keras.Input((64, 64, 3))
    >>> stem = make.first(keras.layers.Conv2D, "stem", images, 8, 4, strides=4)
    >>> [layer.name for layer in keras.Model(images, stem).layers[1:]]
    ['preprocessing', 'stem']
    """

    def __init__(self, policy: Any, normalisation: tuple | None) -> None:
        super().__init__(policy)
        self.normalisation = None
        if normalisation is not None:
            self.normalisation = [[255 * value for value in values] for values in normalisation]
        self.is_normalised = normalisation is None
        self._normalised: list[tuple[Any, Any]] = []

    def normalise(self, images: Any) -> Any:
        """Normalise the input of the model, unless the model takes normalised images.

        Args:
            images: KerasTensor. The input (b, h, w, c).

        Returns:
            KerasTensor. For the same input, always the same tensor.
        """
        self.is_normalised = True
        if self.normalisation is None:
            return images
        for given, result in self._normalised:
            if given is images:
                return result
        mean, deviation = self.normalisation
        layer = self(
            keras.layers.Normalization,
            "preprocessing",
            axis=-1,
            mean=mean,
            variance=[value**2 for value in deviation],
            dtype=exact_dtype(self.policy),
        )
        self._normalised.append((images, layer(images)))
        return self._normalised[-1][1]

    def first(self, cls: type, path: str, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Normalise the images, and apply a layer that reads them.

        Args:
            cls: type. The class of the layer.
            path: str. Name of the layer.
            images: KerasTensor. The input of the model (b, h, w, c).
            *args: Arguments of the layer.
            **kwargs: Arguments of the layer.
        """
        return self(cls, path, *args, **kwargs)(self.normalise(images))
