"""From training to inference with linear angular attention: the end of its auxiliary."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_paca.arguments import check_share
from keras_paca.frozen import paths_inside
from keras_paca.layers import LinearAngularAttention
from keras_paca.warn import warn_user

MOST_DENSITY = 1e-3  # share of the weights above the threshold with which the auxiliary may end
GRAIN = 100  # number of different thresholds on the way to 1


class CastlingSchedule(keras.callbacks.Callback):
    """Raises the threshold of linear angular attention during training, then ends the auxiliary.

    The threshold is held until the share `start` of all steps, and then rises linearly to 1.0 at
    the share `end`. No softmax weight is above that. When training ends, the auxiliary of each
    layer is switched off, as `finish_castling` does. If a density is above 1e-3 then, because
    training was stopped early for example, a warning says so and all keep their auxiliary, unless
    `force`.

    After each epoch, the logs hold the threshold of the last step as "castling_threshold", and for
    each layer the share of weights above it in that step as "mask_density/PATH".

    This schedule is of this library. The paper says that the masks become zero gradually. Its
    released code has a fixed threshold of 0.02 and neither a schedule nor a switch.

    Args:
        threshold: float. The threshold that is held, in [0, 1].
        start: float. The share of all steps after which it rises, in [0, 1].
        end: float. The share of all steps after which it is 1.0, in [`start`, 1].
        switch: bool. Whether the auxiliary is switched off when training ends.
        force: bool. Whether it is switched off whatever the densities are.

    Raises:
        ValueError: If an argument is out of its range. When training begins: if the model has no
            `LinearAngularAttention` with the auxiliary, or if neither the number of steps is known
            nor is there more than one epoch.

    Example:
    >>> import keras_paca
    >>> import numpy as np
    >>> layer = keras_paca.layers.LinearAngularAttention(2, name="attention")
    >>> model = keras.Sequential([keras.Input((9, 8)), layer])
    >>> model.compile("sgd", "mse")
    >>> x, schedule = np.ones((4, 9, 8)), keras_paca.train.CastlingSchedule()
    >>> history = model.fit(x, x, batch_size=2, epochs=2, verbose=0, callbacks=[schedule])
    >>> history.history["mask_density/attention"], layer.auxiliary
    ([1.0, 0.0], False)
    """

    def __init__(
        self,
        threshold: float = 0.02,
        start: float = 0.7,
        end: float = 0.95,
        switch: bool = True,
        force: bool = False,
    ) -> None:
        super().__init__()
        self.threshold = check_share("threshold", threshold)
        self.start, self.end = check_share("start", start), check_share("end", end)
        if self.end < self.start:
            raise ValueError(f"`end` must not be below `start`. Received: start={start}, end={end}")
        self.switch, self.force = switch, force
        self._layers: dict[str, LinearAngularAttention] = {}
        self._steps: int | None = None
        self._epoch, self._last = 0, -1

    def threshold_at(self, progress: float) -> float:
        """Return the threshold after a share of all steps.

        Args:
            progress: float. The share, in [0, 1]: 0 for the first step and 1 for the last one.
        """
        if progress >= self.end:
            return 1.0
        if progress <= self.start:
            return self.threshold
        share = int(GRAIN * (progress - self.start) / (self.end - self.start)) / GRAIN
        return self.threshold + share * (1 - self.threshold)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check that a layer has the auxiliary, and that the steps can be counted."""
        self._layers = _castling_layers(self.model)
        if not self._layers:
            raise ValueError(
                "The model must have a `LinearAngularAttention` with `auxiliary=True`. "
                f"Received: model={self.model!r}"
            )
        self._steps = self.params.get("steps")
        if self._steps is None and self.params["epochs"] < 2:
            raise ValueError(
                "The number of steps must be known for a single epoch: give `fit` the argument "
                "`steps_per_epoch`. Received: data without a length, epochs=1"
            )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the threshold of the first step."""
        self._epoch = epoch
        self._set_threshold(0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the threshold of the next step."""
        self._set_threshold(batch + 1)
        self._last = batch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the threshold and the densities of the last step."""
        self._steps = self._steps or self._last + 1
        if logs is not None:
            layers = self._layers
            logs["castling_threshold"] = max(layer.threshold for layer in layers.values())
            logs.update({f"mask_density/{k}": x.mask_density for k, x in layers.items()})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Switch the auxiliary off."""
        if not self.switch:
            return
        try:
            finish_castling(self.model, force=self.force)
        except ValueError as error:  # not an error, which would lose what `fit` returns
            warn_user(f"The auxiliary stays on. {error}")

    def _set_threshold(self, step: int) -> None:
        """Set the threshold of a step of this epoch."""
        epochs = self.params["epochs"]
        if self._steps is None:  # unknown in the first epoch
            progress = self._epoch / (epochs - 1)
        elif step >= self._steps:
            return  # the next epoch sets it
        else:
            # the last step of those that are executed at once, all of which have one threshold
            last = min(step + (self.model.steps_per_execution or 1), self._steps) - 1
            done = self._epoch * self._steps + last
            progress = done / max(epochs * self._steps - 1, 1)
        threshold = self.threshold_at(progress)
        if all(layer.threshold == threshold for layer in self._layers.values()):
            return
        if hasattr(self.model, "jax_state_sync"):  # the loop holds the variables' values
            self.model.jax_state_sync()
        for layer in self._layers.values():
            layer.threshold = threshold


def finish_castling(model: keras.Model, force: bool = False) -> keras.Model:
    """Switch off the auxiliary of all linear angular attention in a model, which trained with it.

    The weights stay the same, and so does what the model computes in inference, which never has the
    auxiliary. What changes is further training, and the configuration: models that are saved,
    loaded, fused or copied from now on have no auxiliary in training either.

    In training, the auxiliary adds to the outputs what the softmax weights above the threshold
    gather. The smaller the share of these weights, the less the outputs of training and of
    inference differ. If it isn't close to 0, the model may rely on the auxiliary;
    `CastlingSchedule` leads it to 0.

    Args:
        model: keras.Model. A model with layers of `LinearAngularAttention` at any depth, the
            outermost one, which is compiled. It is changed in place. Layers and models around the
            attention that have an attribute `auxiliary` get the value `False` there, too.
        force: bool. Whether to switch it off whatever the densities are.

    Returns:
        keras.Model. The model.

    Raises:
        ValueError: If the model has no such layer; or unless `force`, if in the last training step
            a layer's density was above 1e-3, or if a layer hasn't trained since it was created or
            loaded and has a threshold below 1.

    Example:
    >>> import keras_paca
    >>> layer = keras_paca.layers.LinearAngularAttention(2)
    >>> model = keras.Sequential([keras.Input((9, 8)), layer])
    >>> keras_paca.finish_castling(model, force=True) is model, layer.auxiliary
    (True, False)
    """
    layers = _castling_layers(model, every=True)
    if not layers:
        raise ValueError(f"`model` must have a `LinearAngularAttention`. Received: model={model!r}")
    dense = {path: d for path, d in mask_densities(model).items() if d is None or d > MOST_DENSITY}
    if dense and not force:
        shown = ", ".join(f"{path}: {_describe(density)}" for path, density in dense.items())
        raise ValueError(
            "The share of softmax weights above the threshold must be at most "
            f"{MOST_DENSITY:g} in the last training step. Train with `CastlingSchedule` until it "
            f"is, or pass `force=True`. Received: {shown}"
        )
    for each in model._flatten_layers():
        if getattr(each, "auxiliary", None) is True and _has_attention(each):
            each.auxiliary = False
        if isinstance(each, keras.Model):
            each.train_function = None  # was compiled with the auxiliary
    return model


def mask_densities(model: keras.Model) -> dict[str, float | None]:
    """Return the share of softmax weights above the threshold in the last training step, by layer.

    Args:
        model: keras.Model. A model with layers of `LinearAngularAttention` at any depth.

    Returns:
        dict. {path of the layer: share in [0, 1]}; `None` where it hasn't trained yet. Layers
        without the auxiliary aren't in it.

    Example:
    >>> import keras_paca
    >>> layer = keras_paca.layers.LinearAngularAttention(2, name="attention")
    >>> keras_paca.train.mask_densities(keras.Sequential([keras.Input((9, 8)), layer]))
    {'attention': None}
    """
    return {path: layer.mask_density for path, layer in _castling_layers(model).items()}


def _castling_layers(model: keras.Model, every: bool = False) -> dict[str, LinearAngularAttention]:
    """Return the attention layers with the auxiliary, or every one, by their paths."""
    found: dict[str, LinearAngularAttention] = {}
    for path, layer in paths_inside(model):
        if isinstance(layer, LinearAngularAttention) and (every or layer.auxiliary):
            while path in found:  # two of one name in the same layer
                path += "'"
            found[path] = layer
    return found


def _has_attention(layer: keras.layers.Layer) -> bool:
    return any(isinstance(each, LinearAngularAttention) for each in layer._flatten_layers())


def _describe(density: float | None) -> str:
    return "not trained yet" if density is None else f"{density:.2g}"
