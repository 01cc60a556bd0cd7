"""Names of models and layers that were given none."""

import re

import keras


def default_name(cls: type) -> str:
    """Return the name of a model or layer that was given none, such as "paca_vit_1".

    Keras's own would be "pa_ca_vi_t_1".

    Args:
        cls: type. Its class.

    Example:
    >>> class PaCaNet:
    ...     pass
    >>> default_name(PaCaNet), default_name(PaCaNet)
    ('paca_net', 'paca_net_1')
    """
    plain = cls.__name__.replace("PaCa", "Paca").replace("ViT", "Vit").replace("CNN", "Cnn")
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain).lower()
    number = keras.backend.get_uid(prefix) - 1
    return f"{prefix}_{number}" if number else prefix
