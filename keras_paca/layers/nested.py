"""Layers made of layers, which stay frozen where they were."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state
from keras_paca.naming import default_name


class NestedLayer(keras.layers.Layer):
    """A layer made of layers, which stay frozen where they were when it is made again.

    Args:
        frozen: Sequence of str. Paths of layers inside that don't train, from its configuration.
        thawed: Sequence of str. Paths of layers that train inside frozen ones.
        name: str. Name of the layer, by default that of its class, such as "paca_block".
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(
        self,
        *,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name or default_name(type(self)), **kwargs)
        self._given_state = {"frozen": list(frozen), "thawed": list(thawed)}

    def _post_build(self) -> None:
        super()._post_build()
        if not self.trainable:
            set_trainable(self, False)  # now that there are variables
        restore_trainable_state(self, **self._given_state, must_exist=False)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        state = trainable_state(self) if self.built else self._given_state
        return {**super().get_config(), **{name: paths for name, paths in state.items() if paths}}
