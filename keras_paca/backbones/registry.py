"""The families of backbones, their variants, and the models on them, found by name."""

from keras_paca.backbones.base import Backbone
from keras_paca.backbones.variants import NamedModel, Variant
from keras_paca.forms import is_twin


def families() -> list[type[Backbone]]:
    """Return the families that have variants, those of the user included, in their order.

    Returns:
        list of type. Subclasses of `Backbone`.

    Example:
    >>> families()[0].__name__
    'PaCaViT'
    """
    found, left = [], list(Backbone.__subclasses__())
    while left:
        family = left.pop(0)
        left += [each for each in family.__subclasses__() if not is_twin(each)]
        found += [family] if family.variants else []
    # Keras changes the order of the subclasses when it makes a functional model of one.
    return sorted(found, key=lambda family: family.number)


def variants() -> dict[str, Variant]:
    """Return the variants of all families by their names.

    Returns:
        dict. {name: Variant}.

    Example:
    >>> variants()["paca_small"].family.__name__
    'PaCaViT'
    """
    return {name: each for family in families() for name, each in family.variants.items()}


def models() -> dict[str, NamedModel]:
    """Return the models on all variants by their names.

    Segmenters and detectors are among them as soon as their packages are imported, as
    `import keras_paca` does.

    Returns:
        dict. {name: NamedModel}.

    Example:
    >>> import keras_paca
    >>> models()["paca_small_segmenter"].function is keras_paca.segmentation.PaCaSmallSegmenter
    True
    """
    return {name: each for variant in variants().values() for name, each in variant.models.items()}
