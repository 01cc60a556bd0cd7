"""The tokens of a plain vision transformer beside its patches: put before them, taken out again."""

from typing import Any

import keras
from keras.ops import broadcast_to, cast, concatenate, convert_to_tensor, shape

from keras_paca import ops
from keras_paca.arguments import check_boolean, check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import linear_initializer


@keras.saving.register_keras_serializable(package="keras_paca")
class ClassTokens(BaseLayer):
    """Flatten a map to tokens, and put a learned class token before them.

    The class token and the distillation token behind it have position embeddings of their own,
    which are the same for images of all sizes.

    Args:
        distillation: bool. Whether there is a distillation token.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, tokens, channels): 1 or 2 tokens, then the patches row by row.

    Source: Touvron et al., "Training Data-Efficient Image Transformers & Distillation Through
    Attention", ICML 2021.

    Example:
    >>> tuple(ClassTokens(distillation=True)(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 37, 8)
    """

    def __init__(self, distillation: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.distillation = check_boolean("distillation", distillation)

    @property
    def count(self) -> int:
        """The number of tokens before the patches."""
        return 1 + self.distillation

    def build(self, input_shape: tuple) -> None:
        """Create the tokens and their position embeddings."""
        names = ("class_token", "distillation_token")[: self.count]
        self.tokens = [self._weight(name, 1, input_shape) for name in names]
        self.position_embedding = self._weight("position_embedding", self.count, input_shape)

    def _weight(self, name: str, count: int, input_shape: tuple) -> Any:
        shape = (count, input_shape[-1])
        return self.add_weight(name=name, shape=shape, initializer=linear_initializer())

    def call(self, inputs: Any) -> Any:
        """Put the tokens before the patches of the map `inputs` (b, h, w, c)."""
        patches = ops.flatten_map(inputs)  # (b, n, c)
        tokens = concatenate([convert_to_tensor(token) for token in self.tokens], axis=0)
        tokens = cast(tokens + convert_to_tensor(self.position_embedding), patches.dtype)
        batch = shape(patches)[0]
        tokens = broadcast_to(tokens[None], (batch, self.count, patches.shape[-1]))
        return concatenate([tokens, patches], axis=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, tokens, channels)."""
        patches = ops.count_patches(input_shape)
        return (input_shape[0], None if patches is None else self.count + patches, input_shape[-1])


@keras.saving.register_keras_serializable(package="keras_paca")
class TokenAt(BaseLayer):
    """One of the tokens of an image, such as its class token.

    Args:
        index: int. The index of the token, from 0.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, tokens, channels).
    Output shape: (batch, channels).

    Example:
    >>> TokenAt(1)(keras.ops.reshape(keras.ops.arange(6.0), (1, 3, 2))).tolist()
    [[2.0, 3.0]]
    """

    def __init__(self, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index and check_positive("index", index)

    def call(self, inputs: Any) -> Any:
        """Return a token of `inputs` (b, n, c)."""
        return inputs[:, self.index]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, channels)."""
        return (input_shape[0], input_shape[-1])


@keras.saving.register_keras_serializable(package="keras_paca")
class TokensToMap(BaseLayer):
    """The map of the patches among the tokens of an image, the inverse of `ClassTokens`.

    Args:
        prefix_tokens: int. Number of tokens before those of the patches.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. Tokens (batch, prefix_tokens + height x width, channels).
        like: Tensor. A map (batch, height, width, any).

    Output shape: (batch, height, width, channels).

    Example:
    >>> tokens, image = keras.ops.ones((1, 1 + 5 * 7, 8)), keras.ops.ones((1, 5, 7, 3))
    >>> tuple(TokensToMap(prefix_tokens=1)(tokens, image).shape)
    (1, 5, 7, 8)
    """

    def __init__(self, prefix_tokens: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix_tokens = prefix_tokens and check_positive("prefix_tokens", prefix_tokens)

    def build(self, inputs_shape: tuple, like_shape: tuple) -> None:
        """Do nothing; there are no weights."""

    def call(self, inputs: Any, like: Any) -> Any:
        """Return the patches of `inputs` as a map of the sides of `like`."""
        return ops.unflatten_patches(inputs[:, self.prefix_tokens :], like=like)

    def compute_output_shape(self, inputs_shape: tuple, like_shape: tuple) -> tuple:
        """Return (batch, height, width, channels)."""
        return (*like_shape[:3], inputs_shape[-1])
