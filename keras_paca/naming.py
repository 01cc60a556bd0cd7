"""Default names of models and layers."""

import re

import keras


def default_name(cls: type) -> str:
    """Return a new default name for a model or layer, such as "paca_vit_1".

    Keras itself would choose "pa_ca_vi_t_1".

    Args:
        cls: type. The class of the model or layer.

    Returns:
        str. The name, with a number after the first one of the class.

    Example:
    >>> class PaCaNet:
    ...     pass
    >>> default_name(PaCaNet), default_name(PaCaNet)
    ('paca_net', 'paca_net_1')
    """
    plain = (
        cls.__name__.replace("PaCa", "Paca")
        .replace("ViT", "Vit")
        .replace("CNN", "Cnn")
        .replace("2D", "2d")
    )
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain).lower()
    number = keras.backend.get_uid(prefix) - 1
    return f"{prefix}_{number}" if number else prefix
