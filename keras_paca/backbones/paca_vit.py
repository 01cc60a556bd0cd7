"""PaCa-ViT: Patch-to-Cluster Attention in Vision Transformers (Grainger et al., CVPR 2023).

Paper: https://arxiv.org/abs/2203.11987. Official code: https://github.com/iVMCL/PaCaViT (MIT).
Read from top to bottom: the model, its checkpoint keys, its weights, its variants.
"""

import functools
import json
import operator
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import check_boolean, check_positive, check_rate, complete
from keras_paca.backbones.base import BaseModel
from keras_paca.backbones.data import is_sparse, only, refuse_wrong_labels
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.backbones.views import DictEncoder, SegFormerEncoder
from keras_paca.labels import imagenet_classes
from keras_paca.layers.composite import default_policy, inner, serialize_policy
from keras_paca.naming import default_name
from keras_paca.weights import Entry

STAGES = 4
CLUSTERINGS = ("conv", "mlp", "linear", "teacher")
BOOLEANS = (
    *("dwconv_in_mlp", "shortcut_in_mlp", "post_norm", "sub_norm", "cluster_position_embedding"),
    *("cluster_norm", "remat", "fused", "include_top", "include_preprocessing"),
)
RATES = ("drop_path_rate", "attention_dropout", "dropout")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for RGB in 0..1


def normalise_rgb(images: np.ndarray) -> np.ndarray:
    """Return RGB in 0..255 as models without `include_preprocessing` take it, in float32."""
    return (images / np.float32(255) - np.float32(MEAN)) / np.float32(STD)


# --- The model ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaViT(BaseModel):
    """PaCa-ViT of any size: a classifier, or with `include_top=False` a pyramid backbone.

    Stem -> 4 x (blocks -> LayerNorm), with a transition between the stages -> mean -> classifier.
    Each stage's output, after its norm, is a level of the pyramid: P2 to P5, strides 4 to 32.

    Per stage means one entry for each of the four stages, or one value for all.

    Args:
        hidden_dims: channels per stage, even in the first.
        depths: blocks per stage.
        num_heads: attention heads per stage; each divides its stage's channels.
        mlp_ratio: per stage, width of the feed-forward networks over the channels.
        clustering: "conv", "mlp" or "linear": made of each stage's own map; "teacher": made by
            a ConvMixer beside the backbone.
        clusters: clusters per stage, 0 for plain attention. By default (100, 100, 100, 0), with
            a teacher 100 in each stage.
        cluster_every: per stage, in which blocks an assignment is made: `None` in the first, 1 in
            all, n in every n-th. A teacher's assignments serve whole stages.
        kernel_size: per stage, side of the clustering's depthwise convolution; a teacher has one.
        teacher_depths: ConvMixer units per stage of the teacher.
        dwconv_in_mlp: whether the feed-forward networks have a depthwise convolution.
        shortcut_in_mlp: whether that convolution has a shortcut.
        layer_scale: initial value of learned scales on the residual branches; `None` for none.
        post_norm: norm the branches' outputs in place of their inputs.
        sub_norm: norm both inputs and outputs of the branches.
        position_embedding_size: image size (height, width) for which each stage learns a position
            embedding, resized for other sizes; an int for a square; `None` for none.
        cluster_position_embedding: whether a learned vector is added to each cluster.
        cluster_norm: whether the clusters are layer-normed.
        drop_path_rate: rate of the last block's residual branches; the others' grow up to it
            linearly from 0.
        attention_dropout: rate on the attention weights.
        dropout: rate after projections.
        remat: whether training computes each block again in the backward pass, in place of
            holding what it computed: less memory, more time, the same gradients.
        fused: whether the layers have the form for inference that `keras_paca.fuse` makes, which
            takes no official checkpoint.
        include_top: whether the model ends in a classifier.
        include_preprocessing: whether the model takes RGB in 0..255 and normalises it; else it
            takes normalised images, of any number of channels.
        input_tensor: a `keras.Input` to build on, in place of `input_shape` and `input_name`; on
            another tensor call the model.
        input_shape: (height, width, channels), (None, None, 3) by default; sides from 32, odd
            ones allowed, `None` for any.
        input_name: name of the input, under which data given as a dict has it.
        pooling: without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: number of classes of the top.
        classifier_activation: activation of the top, `None` for logits.
        class_names: Sequence of str. The name of each class, which a saved model keeps; `None` for
            none.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`, such as `{"image_size": 224, "crop": 0.9}`.
        frozen: Sequence of str. Paths of layers that don't train, such as "stem" or
            "stage1_block1/attention". Setting `layer.trainable` later changes it, so that a saved
            model stays frozen where it was.
        thawed: Sequence of str. Paths of layers that train inside frozen ones.
        name: name of the model.
        dtype: dtype or policy of every layer.
        trainable: whether the model trains at all.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the map P5 or a vector.

    Attributes:
        pyramid_outputs: {"P2": KerasTensor (batch, height / 4, width / 4, channels), ... "P5"}.
        pyramid_level_inputs: {"P2": name of the layer that ends the stage, ...}.
        assignments: {"P2": [KerasTensor (batch, patches, clusters), one per block], ...}, stages
            with clusters only.
        hidden_dims, embedding_dims: channels per level.
        image_shape: `input_shape`.
        stage_names: the levels.

    Raises:
        ValueError: if an argument doesn't fit.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        mlp_ratio: float | Sequence[float] = 4.0,
        clustering: str = "conv",
        clusters: int | Sequence[int] | None = None,
        cluster_every: int | Sequence[int | None] | None = None,
        kernel_size: int | Sequence[int] = 7,
        teacher_depths: int | Sequence[int] = 2,
        dwconv_in_mlp: bool = True,
        shortcut_in_mlp: bool = True,
        layer_scale: float | None = None,
        post_norm: bool = False,
        sub_norm: bool = False,
        position_embedding_size: int | Sequence[int] | None = None,
        cluster_position_embedding: bool = False,
        cluster_norm: bool = True,
        drop_path_rate: float = 0.0,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        remat: bool = False,
        fused: bool = False,
        include_top: bool = True,
        include_preprocessing: bool = True,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        input_name: str | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | Callable | None = "softmax",
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        given_policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        policy = default_policy(given_policy)
        if input_tensor is not None:
            input_shape = _tensor_shape(input_tensor, input_shape)
            if not _is_plain_input(input_tensor):
                raise ValueError(
                    f"`input_tensor` must be a `keras.Input` of {keras.config.floatx()}; call the "
                    f"model on other tensors. Received: input_tensor={input_tensor!r}"
                )
            input_name = input_tensor._keras_history.operation.name
        config = {
            "hidden_dims": _integers("hidden_dims", hidden_dims),
            "depths": _integers("depths", depths),
            "num_heads": _integers("num_heads", num_heads),
            "mlp_ratio": _per_stage("mlp_ratio", mlp_ratio),
            "clustering": clustering,
            "clusters": clusters_per_stage(clusters, clustering),
            "cluster_every": cluster_every_per_stage(cluster_every),
            "kernel_size": _integers("kernel_size", kernel_size),
            "teacher_depths": _integers("teacher_depths", teacher_depths, least=0),
            "dwconv_in_mlp": dwconv_in_mlp,
            "shortcut_in_mlp": shortcut_in_mlp,
            "layer_scale": layer_scale,
            "post_norm": post_norm,
            "sub_norm": sub_norm,
            "position_embedding_size": _position_embedding_size(position_embedding_size),
            "cluster_position_embedding": cluster_position_embedding,
            "cluster_norm": cluster_norm,
            "drop_path_rate": drop_path_rate,
            "attention_dropout": attention_dropout,
            "dropout": dropout,
            "remat": remat,
            "fused": fused,
            "include_top": include_top,
            "include_preprocessing": include_preprocessing,
            "input_shape": _input_shape(input_shape, include_preprocessing),
            "input_name": input_name,
            "pooling": pooling,
            "classes": check_positive("classes", classes),
            "classifier_activation": keras.activations.serialize(
                keras.activations.get(classifier_activation)
            ),
        }
        _check_config(config)
        check_boolean("trainable", trainable)

        images = input_tensor
        if input_tensor is None:
            images = keras.Input(config["input_shape"], name=input_name)
        x = self._embed(images, config, policy)
        given, features = self._teach(x, config, given_policy)
        levels, assignments = {}, {}
        rates = np.linspace(0.0, drop_path_rate, sum(config["depths"])).tolist()
        for stage, level in enumerate(LEVELS):
            if stage > 0:
                x = layers.OverlappingTransition(
                    config["hidden_dims"][stage], dtype=policy, name=f"transition{stage}"
                )(x)
            x, made = self._stage(x, given.get(level), stage, rates, config, given_policy)
            if made:
                assignments[level] = made
            if features:
                x = keras.layers.Add(dtype=policy, name=f"stage{stage + 1}_add_teacher")(
                    [x, features[stage]]
                )
            x = levels[level] = keras.layers.LayerNormalization(
                epsilon=1e-6, dtype=policy, name=f"stage{stage + 1}_norm"
            )(x)
        outputs = self._head(x, config, given_policy)
        super().__init__(inputs=images, outputs=outputs, name=name or default_name(type(self)))
        self._set_up(
            num_classes=config["classes"] if config["include_top"] else None,
            class_names=class_names,
            evaluation_transform=evaluation_transform,
            frozen=frozen,
            thawed=thawed,
            trainable=trainable,
        )
        self.dtype_policy = policy
        self._config, self._levels, self._assignments = config, levels, assignments

    @staticmethod
    def _embed(images: Any, config: dict, policy: Any) -> Any:
        """Normalise RGB in 0..255 to ImageNet's mean and deviation, and apply the stem."""
        mean, deviation = ([255 * value for value in values] for values in (MEAN, STD))
        stem = functools.partial(
            layers.OverlappingStem,
            config["hidden_dims"][0],
            fused=config["fused"],
            dtype=policy,
            name="stem",
        )
        if not config["include_preprocessing"]:
            return stem()(images)
        exact = _at_least_float32(policy)
        if config["fused"] and policy.compute_dtype == exact:
            return stem(mean=mean, deviation=deviation)(images)
        normalised = keras.layers.Normalization(
            axis=-1,
            mean=mean,
            variance=[value**2 for value in deviation],
            dtype=exact,
            name="preprocessing",
        )(images)
        return stem()(normalised)

    @staticmethod
    def _teach(x: Any, config: dict, policy: Any) -> tuple[dict, list]:
        """Return a teacher's assignments by level and its maps; without a teacher, nothing."""
        if config["clustering"] != "teacher":
            return {}, []
        teacher = layers.ConvMixerTeacher(
            config["hidden_dims"],
            config["teacher_depths"],
            config["clusters"],
            config["kernel_size"][0],
            config["fused"],
            **inner(policy, "teacher"),
        )
        assignments, features = teacher(x)
        clustered = [
            level for level, count in zip(LEVELS, config["clusters"], strict=True) if count
        ]
        return dict(zip(clustered, assignments, strict=True)), features

    @staticmethod
    def _stage(
        x: Any, assignment: Any, stage: int, rates: Sequence[float], config: dict, policy: Any
    ) -> tuple[Any, list]:
        """Apply a stage's blocks; return the map and the assignment after each block."""
        made = []
        keeps_mean = not config["fused"] or config["post_norm"] or config["sub_norm"]
        grid = None
        if config["position_embedding_size"] is not None:
            grid = tuple(side // 4 // 2**stage for side in config["position_embedding_size"])
        first = sum(config["depths"][:stage])
        for j in range(config["depths"][stage]):
            block = layers.PaCaBlock(
                config["num_heads"][stage],
                clustering=_clustering(config, stage, j, policy),
                mlp_ratio=config["mlp_ratio"][stage],
                drop_path_rate=rates[first + j],
                attention_dropout=config["attention_dropout"],
                dropout=config["dropout"],
                layer_scale=config["layer_scale"],
                post_norm=config["post_norm"],
                sub_norm=config["sub_norm"],
                position_embedding_size=grid if j == 0 else None,
                cluster_position_embedding=config["cluster_position_embedding"],
                cluster_norm=config["cluster_norm"],
                dwconv_in_mlp=config["dwconv_in_mlp"],
                shortcut_in_mlp=config["shortcut_in_mlp"],
                remat=config["remat"],
                fused=config["fused"],
                channel_mean="kept" if keeps_mean else "absent" if j else "dropped",
                **inner(policy, f"stage{stage + 1}_block{j + 1}"),
            )
            if config["clusters"][stage]:
                x, assignment = block(x, assignment)
                made.append(assignment)
            else:
                x = block(x)
        return x, made

    @staticmethod
    def _head(x: Any, config: dict, policy: Any) -> Any:
        """Pool over the patches, in float32 at least, and classify."""
        pools = {
            "avg": keras.layers.GlobalAveragePooling2D,
            "max": keras.layers.GlobalMaxPooling2D,
        }
        pooling = "avg" if config["include_top"] else config["pooling"]
        if pooling is not None:
            x = pools[pooling](
                data_format="channels_last",
                dtype=_at_least_float32(policy),
                name=f"{pooling}_pool",
            )(x)
        if not config["include_top"]:
            return x
        return keras.layers.Dense(
            config["classes"],
            activation=keras.activations.get(config["classifier_activation"]),
            kernel_initializer=layers.linear_initializer(),
            **inner(policy, "predictions", policy.variable_dtype),
        )(x)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The maps P2 to P5."""
        return dict(self._levels)

    @property
    def pyramid_level_inputs(self) -> dict[str, str]:
        """The names of the layers whose outputs are P2 to P5."""
        return {level: f"stage{stage + 1}_norm" for stage, level in enumerate(LEVELS)}

    @property
    def assignments(self) -> dict[str, list[keras.KerasTensor]]:
        """The assignments after each block, by level; stages with clusters only."""
        return {level: list(made) for level, made in self._assignments.items()}

    @property
    def hidden_dims(self) -> list[int]:
        """Channels of P2 to P5."""
        return list(self._config["hidden_dims"])

    @property
    def embedding_dims(self) -> list[int]:
        """Channels of P2 to P5, under the name that KerasCV reads."""
        return self.hidden_dims

    @property
    def include_preprocessing(self) -> bool:
        """Whether the model takes RGB in 0..255 and normalises it."""
        return self._config["include_preprocessing"]

    @property
    def image_shape(self) -> tuple:
        """(height, width, channels) of the input, `None` where any."""
        return self._config["input_shape"]

    @property
    def stage_names(self) -> list[str]:
        """The levels, in order."""
        return list(LEVELS)

    def as_segformer_encoder(self, name: str | None = None) -> SegFormerEncoder:
        """Return a view for KerasHub's `SegFormerBackbone`, with shared layers."""
        return SegFormerEncoder(self, name)

    def as_dict_encoder(self, name: str | None = None) -> DictEncoder:
        """Return a view for KerasHub's `DFineBackbone`, with shared layers."""
        return DictEncoder(self, name)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, without weights and tensors."""
        return {
            **self._config,
            **self._shared_config(),
            "name": self.name,
            "dtype": serialize_policy(self.dtype_policy, self.layers),
        }

    def _check_targets(self, x: Any, y: Any, sample_weight: Any, is_first: bool) -> None:
        refuse_wrong_labels(y, self._num_classes, getattr(only(self.loss), "ignore_class", None))

    def _knows_targets(self) -> bool:
        return self._num_classes is not None and is_sparse(getattr(self, "loss", None))

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "PaCaViT":
        """Return the model of a configuration."""
        return cls(**{**config, "dtype": keras.dtype_policies.get(config.get("dtype"))})


def _clusters_in(config: dict, stage: int, block: int) -> bool:
    """Return whether a block makes an assignment of its own."""
    if config["clustering"] == "teacher" or not config["clusters"][stage]:
        return False
    every = config["cluster_every"][stage]
    return block == 0 or (every is not None and block % every == 0)


def _clustering(config: dict, stage: int, block: int, policy: Any) -> keras.layers.Layer | None:
    """Return the clustering layer of a block that makes its own assignment, else `None`."""
    if not _clusters_in(config, stage, block):
        return None
    count = config["clusters"][stage]
    common = inner(policy, f"stage{stage + 1}_block{block + 1}/clustering")
    if config["clustering"] == "conv":
        return layers.ConvClustering(count, config["kernel_size"][stage], **common)
    if config["clustering"] == "mlp":
        return layers.MLPClustering(count, config["mlp_ratio"][stage], config["fused"], **common)
    return layers.LinearClustering(count, **common)


def _at_least_float32(policy: Any) -> str:
    return keras.backend.result_type(policy.compute_dtype, "float32")


def _per_stage(name: str, value: Any) -> tuple:
    """Return `value` with one entry per stage."""
    if np.ndim(value) == 0 and not isinstance(value, str):
        return (value,) * STAGES
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != STAGES:
        raise ValueError(
            f"`{name}` must have one entry per stage ({STAGES}). Received: {name}={value!r}"
        )
    return tuple(value)


def _integers(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Return one integer from `least` per stage."""
    value = _per_stage(name, value)
    try:
        numbers = tuple(operator.index(number) for number in value)
    except TypeError:
        numbers = ()
    if any(isinstance(number, bool) for number in value) or not numbers or min(numbers) < least:
        raise ValueError(f"`{name}` must hold integers from {least}. Received: {name}={value}")
    return numbers


def clusters_per_stage(clusters: Any, clustering: str) -> tuple[int, ...]:
    """Return the argument `clusters` with one entry per stage, `None` as the default."""
    if clusters is None:
        return (100, 100, 100, 100 if clustering == "teacher" else 0)
    return _integers("clusters", clusters, least=0)


def cluster_every_per_stage(every: Any) -> tuple[int | None, ...]:
    """Return the argument `cluster_every` with one entry per stage."""
    every = (None,) * STAGES if every is None else _per_stage("cluster_every", every)
    return tuple(None if n is None else check_positive("cluster_every", n) for n in every)


def _position_embedding_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    size = (size, size) if np.ndim(size) == 0 else tuple(size)
    size = tuple(check_positive("position_embedding_size", side) for side in size)
    if len(size) != 2 or min(size) < 32:
        raise ValueError(
            "`position_embedding_size` must be an image size (height, width), both from 32. "
            f"Received: position_embedding_size={size}"
        )
    return size


def _input_shape(shape: Any, include_preprocessing: bool) -> tuple:
    try:
        sides = (None, None, 3) if shape is None else tuple(shape)
        numbers = [n if n is None or isinstance(n, bool) else operator.index(n) for n in sides]
    except TypeError:  # such as 224, or a side that is no integer
        numbers = []
    whole = len(numbers) == 3 and not any(isinstance(number, bool) for number in numbers)
    if (
        not whole
        or any(side is not None and side < 32 for side in numbers[:2])
        or numbers[2] is None
        or numbers[2] < 1
    ):
        raise ValueError(
            "`input_shape` must be (height, width, channels), such as (224, 224, 3), channels last "
            "whatever the global image data format, with sides from 32 or `None` for any. "
            f"Received: input_shape={shape!r}"
        )
    shape = tuple(numbers)
    if include_preprocessing and shape[2] != 3:
        raise ValueError(
            "`include_preprocessing=True` normalises RGB and needs 3 channels; pass "
            f"`include_preprocessing=False` for others. Received: input_shape={shape}"
        )
    return shape


def _check_config(config: dict) -> None:
    """Raise where arguments are of another kind or don't fit one another."""
    for name in BOOLEANS:
        check_boolean(name, config[name])
    for name in RATES:
        check_rate(name, config[name])
    if config["clustering"] not in CLUSTERINGS:
        raise ValueError(
            f"`clustering` must be one of {CLUSTERINGS}. "
            f"Received: clustering={config['clustering']!r}"
        )
    if config["pooling"] not in (None, "avg", "max"):
        raise ValueError(
            f'`pooling` must be None, "avg" or "max". Received: pooling={config["pooling"]!r}'
        )
    if config["clustering"] == "teacher":
        if len(set(config["kernel_size"])) > 1:
            raise ValueError(
                "A teacher has one `kernel_size` for all stages. "
                f"Received: kernel_size={config['kernel_size']}"
            )
        if any(config["cluster_every"]):
            raise ValueError(
                "A teacher makes its assignments once per stage. "
                f"Received: cluster_every={config['cluster_every']}"
            )
    for dims, heads in zip(config["hidden_dims"], config["num_heads"], strict=True):
        if dims % heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dims` stage by stage. Received: "
                f"num_heads={config['num_heads']} and hidden_dims={config['hidden_dims']}"
            )


# --- Checkpoint keys ------------------------------------------------------------------------


def checkpoint_map(config: Mapping[str, Any]) -> weights.KeyMap:
    """Return where each tensor of an official checkpoint belongs.

    Args:
        config: configuration of a `PaCaViT`.

    Returns:
        {official key: entry}, one for every weight of the model.

    Raises:
        ValueError: if the model is fused.
    """
    if config.get("fused"):
        raise ValueError(
            "A fused model has other weights than official checkpoints. Load them into the model "
            "as it was before and fuse it then: `keras_paca.fuse(model)`."
        )
    entries = weights.KeyMap()
    entries.kernel("patch_embed.proj.0", "stem/conv1", "conv")
    entries.kernel("patch_embed.proj.1", "stem/conv2", "conv")
    entries.norm("patch_embed.norm", "stem/norm")
    for i, depth in enumerate(config["depths"]):
        clustered = config["clusters"][i] > 0
        for j in range(depth):
            key, block = f"stage{i + 1}.{j}", f"stage{i + 1}_block{j + 1}"
            if config["position_embedding_size"] is not None and j == 0:
                entries[f"{key}.pos_embed"] = Entry(block, "position_embedding", "positions")
            if config["layer_scale"] is not None:
                entries[f"{key}.gamma1"] = Entry(block, "scale1", "vector")
                entries[f"{key}.gamma2"] = Entry(block, "scale2", "vector")
            before = config["sub_norm"] or not config["post_norm"]
            after = config["sub_norm"] or config["post_norm"]
            for number in (1, 2):
                if before:
                    entries.norm(f"{key}.norm{number}_before", f"{block}/norm{number}_before")
                if after:
                    entries.norm(f"{key}.norm{number}_after", f"{block}/norm{number}_after")
            attention = f"{block}/attention"
            if clustered and config["cluster_position_embedding"]:
                entries[f"{key}.attn.cluster_pos_enc"] = Entry(
                    attention, "cluster_embedding", "clusters"
                )
            if clustered and config["cluster_norm"]:
                entries.norm(f"{key}.attn.cluster_norm", f"{attention}/cluster_norm")
            if _clusters_in(config, i, j):
                made_by, layer = f"{key}.attn.clustering.clustering", f"{block}/clustering"
                if config["clustering"] == "conv":
                    entries.kernel(f"{made_by}.0", f"{layer}/depthwise", "depthwise")
                    entries.kernel(f"{made_by}.2", f"{layer}/pointwise", "pointwise")
                    entries.kernel(f"{made_by}.4", f"{layer}/projection", "pointwise", bias=False)
                elif config["clustering"] == "mlp":
                    entries.kernel(f"{made_by}.0", f"{layer}/hidden", "linear")
                    entries.kernel(f"{made_by}.2", f"{layer}/projection", "linear")
                else:
                    entries.kernel(f"{made_by}.0", f"{layer}/projection", "linear", bias=False)
            entries.kernel(f"{key}.attn.q", f"{attention}/query", "linear")
            entries.kernel(f"{key}.attn.k", f"{attention}/key", "linear")
            entries.kernel(f"{key}.attn.v", f"{attention}/value", "linear")
            entries.kernel(f"{key}.attn.proj", f"{attention}/attention_output", "linear")
            entries.kernel(f"{key}.mlp.fc1", f"{block}/mlp/expand", "linear")
            if config["dwconv_in_mlp"]:
                entries.kernel(f"{key}.mlp.dwconv.dwconv", f"{block}/mlp/depthwise", "depthwise")
            entries.kernel(f"{key}.mlp.fc2", f"{block}/mlp/project", "linear")
        entries.norm(f"norm{i + 1}", f"stage{i + 1}_norm")
        if i < STAGES - 1:
            entries.kernel(f"transition{i + 1}.proj", f"transition{i + 1}/conv", "conv")
            entries.norm(f"transition{i + 1}.norm", f"transition{i + 1}/norm")

    if config["clustering"] == "teacher":

        def unit(key: str, layer: str) -> None:
            entries.kernel(f"{key}.0.fn.0", f"{layer}/depthwise", "depthwise")
            entries.batch_norm(f"{key}.0.fn.2", f"{layer}/norm1")
            entries.kernel(f"{key}.1", f"{layer}/pointwise", "pointwise")
            entries.batch_norm(f"{key}.3", f"{layer}/norm2")

        for i, depth in enumerate(config["teacher_depths"]):
            n = i + 1
            for j in range(depth):
                unit(f"paca_teacher.block{n}.{j}", f"teacher/stage{n}_unit{j + 1}")
            if i < STAGES - 1:
                key, layer = f"paca_teacher.transition{n}", f"teacher/transition{n}"
                entries.kernel(f"{key}.0.conv", f"{layer}/conv", "conv")
                entries.batch_norm(f"{key}.2", f"{layer}/norm")
                key, layer = f"paca_teacher.lateral{n}", f"teacher/lateral{n}"
                entries.kernel(f"{key}.0", f"{layer}/pointwise", "pointwise")
                entries.batch_norm(f"{key}.2", f"{layer}/norm")
                unit(f"paca_teacher.fpn{n}", f"teacher/top_down_unit{n}")
            if config["clusters"][i]:
                entries.kernel(
                    f"paca_teacher.to_clusters{n}", f"teacher/projection{n}", "pointwise"
                )

    if config["include_top"]:
        entries.kernel("head", "predictions", "linear")
    return entries


# --- Weights --------------------------------------------------------------------------------

DATA_SETS = {"classification": "ImageNet", "detection": "COCO"}
HEAD_KEYS = {"head.weight": 0, "head.bias": 0}  # official key -> axis of the classes
KERAS_HEAD_KEYS = {"predictions/0": 1, "predictions/1": 0}


def clusters_in_checkpoint(tensors: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Return the clusters per stage of an official or of a saved Keras checkpoint."""
    counts = [0] * STAGES
    for key, stage, axis in _last_projections(tensors):
        counts[stage] = int(tensors[key].shape[axis])
    return tuple(counts)


_CLUSTERING_KEY = re.compile(
    r"((?:backbone\.)?stage(\d)\.\d+\.attn\.clustering\.clustering\.)(\d)\.(?:weight|bias)"
)
_TEACHER_KEY = re.compile(r"(?:backbone\.)?paca_teacher\.to_clusters(\d)\.(?:weight|bias)")
_KERAS_KEY = re.compile(
    r"(?:stage(\d)_block\d+/clustering/projection|teacher/projection(\d))/([01])"
)


def _last_projections(tensors: Mapping[str, np.ndarray]) -> list[tuple[str, int, int]]:
    """Return (key, stage, axis of the clusters) of the projections that end a clustering."""
    found = []
    for key in tensors:
        if match := _CLUSTERING_KEY.fullmatch(key):
            prefix, stage, layer = match.groups()
            if layer == max(
                (n for n in "0123456789" if f"{prefix}{n}.weight" in tensors), default=""
            ):
                found.append((key, int(stage) - 1, 0))
        elif match := _TEACHER_KEY.fullmatch(key):
            found.append((key, int(match[1]) - 1, 0))
        elif match := _KERAS_KEY.fullmatch(key):
            found.append((key, int(match[1] or match[2]) - 1, 1 - int(match[3])))
    return [
        (key, stage, axis)
        for key, stage, axis in found
        if 0 <= stage < STAGES and tensors[key].ndim > axis
    ]


def load_weights(model: PaCaViT, checkpoint: weights.Checkpoint, other_clusters: bool) -> None:
    """Load a checkpoint strictly.

    Every tensor and every weight is matched, or belongs to one of five reasons: (a) counters of
    batches and the constant blur; (b) the head, without the top; (c) what a detection or
    segmentation file holds beside its backbone; (d) a head for another number of classes;
    (e) the last clustering projections for another number of clusters.

    Args:
        model: the model.
        checkpoint: what `weights.open_checkpoint` returned.
        other_clusters: whether the caller asked for clusters of their own, so that (e) holds.

    Raises:
        ValueError: on any other mismatch; the model is then unchanged.
    """
    config = model.get_config()
    tensors, name, top = dict(checkpoint.tensors), checkpoint.name, config["include_top"]
    head = HEAD_KEYS if checkpoint.official else KERAS_HEAD_KEYS
    unused: set[str] = set()
    fresh: set[str] = set()
    if any(key.startswith("backbone.") for key in tensors):  # (c)
        tensors = {
            key.removeprefix("backbone."): tensor
            for key, tensor in tensors.items()
            if key.startswith("backbone.")
        }
        if top:
            fresh.update(head)
            weights.warn_fresh(name, "the head", "a backbone of a detector or segmenter")
    unused.update(constant_tensors(tensors))  # (a)
    if not top:
        unused.update(head)  # (b)
    held = _classes_in_head(tensors, head, model.hidden_dims[-1])
    if top and not fresh and held not in (None, config["classes"]):  # (d)
        fresh.update(head)
        weights.warn_fresh(name, "the head", f"made for {held} classes, not {config['classes']}")
    if other_clusters:  # (e)
        fresh.update(other_projections(tensors, config, name))
    if checkpoint.official:
        weights.load_official(model, tensors, checkpoint_map(config), name, unused, fresh)
    else:
        weights.load_keras(model, tensors, name, unused, fresh)


def constant_tensors(tensors: Mapping[str, np.ndarray]) -> set[str]:
    """Return the keys that carry no weights: counters of batches and the constant blur."""
    return {
        key
        for key, tensor in tensors.items()
        if key.endswith("num_batches_tracked") or (key.endswith("blur_filter") and _is_blur(tensor))
    }


def other_projections(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], source: str
) -> set[str]:
    """Return the keys of last clustering projections for another number of clusters, and warn."""
    last = [
        (key, int(tensors[key].shape[axis]), config["clusters"][stage])
        for key, stage, axis in _last_projections(tensors)
    ]
    changed = {key for key, held, wanted in last if held != wanted > 0}
    if changed:
        weights.warn_fresh(
            source,
            "the last clustering projection of those stages",
            f"made for {clusters_in_checkpoint(tensors)} clusters, not {config['clusters']}",
        )
    return changed


def _classes_in_head(
    tensors: Mapping[str, np.ndarray], head: Mapping[str, int], channels: int
) -> int | None:
    """Return the classes of a head that is whole and fits the channels, else `None`."""
    if not all(key in tensors and tensors[key].ndim > axis for key, axis in head.items()):
        return None
    counts = {int(tensors[key].shape[axis]) for key, axis in head.items()}
    others = {
        size for key, axis in head.items() for size in np.delete(tensors[key].shape, axis).tolist()
    }
    return counts.pop() if len(counts) == 1 and others == {channels} else None


def _is_blur(tensor: np.ndarray) -> bool:
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    return tensor.shape[1:] == (1, 3, 3) and np.allclose(tensor, taps)


def official_tensors(model: PaCaViT) -> dict[str, np.ndarray]:
    """Return a model's weights under the official keys and in the official layouts."""
    variables = weights.model_variables(model)
    return {
        key: weights.to_official(
            keras.ops.convert_to_numpy(variables[entry.path]).astype("float32"), entry.layout
        )
        for key, entry in checkpoint_map(model.get_config()).items()
    }


def released_file(
    size: str, clustering: str, clusters: Any, cluster_every: Any, task: str = "classification"
) -> weights.ReleasedFile:
    """Return the released checkpoint to start from, by default of ImageNet.

    That is the file with those clusters, or for clusters that the caller chose the standard file
    of that size and clustering; where that has no clusters in a stage that is to have some (or
    the reverse), the first file that has them in the same stages.

    Raises:
        ValueError: if nobody released such a file.
    """
    files = [file for file in weights.released_files() if file.task == task]
    every = set(cluster_every_per_stage(cluster_every))
    wanted = clusters_per_stage(clusters, clustering)
    fitting = [
        file
        for file in files
        if (file.size, file.clustering) == (size, clustering)
        and every == ({1} if file.blockwise else {None})
        and (
            file.clusters == wanted
            if clusters is None
            else [count > 0 for count in file.clusters] == [count > 0 for count in wanted]
        )
    ]
    if not fitting:
        released = "".join(f"\n  {file.variant}" for file in files)
        raise ValueError(
            f"Nobody released {DATA_SETS[task]} weights for {size}, clustering={clustering!r}, "
            f"clusters={wanted}, cluster_every={cluster_every}. Pass `weights=None` or one of:"
            f"{released}"
        )
    return next((file for file in fitting if file.clusters == wanted), fitting[0])


# --- Variants -------------------------------------------------------------------------------

VARIANTS = {
    "tiny": {
        "hidden_dims": (96, 192, 320, 384),
        "num_heads": (2, 4, 8, 16),
        "depths": (2, 2, 4, 2),
    },
    "small": {
        "hidden_dims": (96, 192, 320, 384),
        "num_heads": (2, 4, 8, 16),
        "depths": (3, 3, 10, 3),
    },
    "base": {
        "hidden_dims": (96, 192, 384, 512),
        "num_heads": (2, 4, 8, 16),
        "depths": (3, 3, 18, 3),
    },
}
WITH_TEACHER = {
    "tiny": {"depths": (2, 2, 2, 2), "teacher_depths": (2, 2, 2, 2)},
    "small": {"depths": (3, 3, 7, 3), "teacher_depths": (2, 2, 2, 2)},
    "base": {"depths": (3, 3, 16, 3), "teacher_depths": (2, 2, 4, 2)},
}


def variant_config(size: str, clustering: str = "conv") -> dict:
    """Return the sizes of "tiny", "small" or "base", which a teacher changes."""
    return {**VARIANTS[size], **(WITH_TEACHER[size] if clustering == "teacher" else {})}


def convert(source: str | Path, target: str | Path) -> None:
    """Convert a file of weights.

    Args:
        source: an official `.pth`, `.safetensors`, `.weights.h5` or `.keras` of Tiny, Small or
            Base with any clustering; of a detector or segmenter its backbone is meant, unless
            the target is a `.safetensors`, which keeps all official tensors.
        target: `.safetensors` (official keys and layouts), `.weights.h5` or `.keras`. Replaced
            only when it is whole.

    Raises:
        FileNotFoundError: if there is no such source, or no such folder for the target.
        ValueError: if the source is not such a file, or the target has another suffix.
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        raise FileNotFoundError(f"No such file: {source}")
    if not target.name.endswith((".safetensors", ".weights.h5", ".keras")):
        raise ValueError(
            f"The target must end in .safetensors, .weights.h5 or .keras. Received: {str(target)!r}"
        )
    if not target.absolute().parent.is_dir() or target.is_dir():
        raise FileNotFoundError(
            f"The target must be a file in a folder that exists. Received: {str(target)!r}"
        )
    checkpoint = weights.open_checkpoint(source)
    if target.suffix == ".safetensors" and checkpoint.official:
        _write_safetensors(target, checkpoint.tensors, source.name, checkpoint.information)
        return
    options = {"class_names": None, "evaluation_transform": None, "input_shape": None}
    options |= _infer_config(checkpoint)
    _add_information(options, None, checkpoint)
    model = PaCaViT(**options)
    load_weights(model, checkpoint, other_clusters=False)
    if target.suffix == ".safetensors":
        information = {
            "class_names": model.class_names,
            "evaluation_transform": model.evaluation_transform,
        }
        _write_safetensors(target, official_tensors(model), source.name, information)
        return
    with tempfile.TemporaryDirectory(dir=target.absolute().parent) as folder:
        partial = Path(folder) / target.name
        if target.suffix == ".keras":
            model.save(partial)
        else:
            model.save_weights(partial)
        partial.replace(target)


def _write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], source: str, information: Mapping[str, Any]
) -> None:
    """Write official tensors, and beside them what is known of the model, as JSON."""
    metadata = {"source": source}
    metadata |= {name: json.dumps(value) for name, value in information.items() if value}
    weights.write_safetensors(path, tensors, metadata)


def _infer_config(checkpoint: weights.Checkpoint) -> dict:
    """Return the variant that a checkpoint holds, as arguments of `PaCaViT`."""
    tensors = {k.removeprefix("backbone."): v for k, v in checkpoint.tensors.items()}
    if checkpoint.official:
        norm, block, head = "norm{}.weight", r"stage{}\.(\d+)\.", "head.bias"
        marks = {"teacher": "paca_teacher", "conv": "clustering.4.", "mlp": "clustering.2."}
        own, first = r"stage{}\.(\d+)\.attn\.clustering", 0
    else:
        norm, block, head = "stage{}_norm/0", r"stage{}_block(\d+)/", "predictions/1"
        marks = {"teacher": "teacher/", "conv": "clustering/depthwise", "mlp": "clustering/hidden"}
        own, first = r"stage{}_block(\d+)/clustering", 1
    stages = range(1, STAGES + 1)
    norms = [tensors[norm.format(i)] for i in stages if norm.format(i) in tensors]
    dims = tuple(array.size for array in norms)
    depths = tuple(
        len({m[1] for key in tensors if (m := re.match(block.format(i), key))}) for i in stages
    )
    every = []
    for i in stages:
        blocks = {int(m[1]) - first for key in tensors if (m := re.match(own.format(i), key))}
        every.append(min(blocks - {0}, default=None))
    clustering = next((k for k, mark in marks.items() if any(mark in t for t in tensors)), "linear")
    for size in VARIANTS:
        sizes = variant_config(size, clustering)
        if (sizes["hidden_dims"], sizes["depths"]) == (dims, depths):
            return {
                **sizes,
                "clustering": clustering,
                "clusters": clusters_in_checkpoint(tensors),
                "cluster_every": every,
                "include_top": head in tensors,
                "classes": int(tensors[head].shape[0]) if head in tensors else 1000,
                "drop_path_rate": default_drop_path_rate(size, clustering),
                "name": f"paca_{size}",
            }
    raise ValueError(
        f"{checkpoint.name} holds no PaCa-ViT of the sizes tiny, small and base; only those are "
        f"converted. Received: channels {dims} and depths {depths}"
    )


def default_drop_path_rate(size: str, clustering: str) -> float:
    """Return the official rate of a variant."""
    return 0.5 if (size, clustering) == ("base", "conv") else 0.1


def _variant(size: str) -> Callable[..., keras.Model]:
    """Return the model function of one size."""

    def build(
        include_top: bool = True,
        include_preprocessing: bool = True,
        weights: str | Path | None = "imagenet",
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | Callable | None = "softmax",
        name: str = f"paca_{size}",
        *,
        clustering: str = "conv",
        clusters: int | Sequence[int] | None = None,
        cluster_every: int | Sequence[int | None] | None = None,
        drop_path_rate: float | None = None,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        remat: bool = False,
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        weights_url: str | None = None,
        dtype: Any = None,
    ) -> keras.Model:
        if drop_path_rate is None:
            drop_path_rate = default_drop_path_rate(size, clustering)
        return build_variant(
            size,
            weights,
            weights_url,
            input_tensor,
            include_top=include_top,
            include_preprocessing=include_preprocessing,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            clustering=clustering,
            clusters=clusters,
            cluster_every=cluster_every,
            drop_path_rate=drop_path_rate,
            attention_dropout=attention_dropout,
            dropout=dropout,
            remat=remat,
            class_names=class_names,
            evaluation_transform=evaluation_transform,
            dtype=dtype,
        )

    build.__name__ = build.__qualname__ = f"PaCa{size.title()}"
    sizes = VARIANTS[size]
    build.__doc__ = _DOCSTRING.format(
        size=size.title(), **sizes, teacher=WITH_TEACHER[size]["depths"]
    )
    return build


def build_variant(
    size: str, source: Any, url: str | None, input_tensor: Any, **options: Any
) -> keras.Model:
    """Build a variant, on an input of its own or on the caller's tensor, and load its weights."""
    other_clusters, checkpoint, file = options["clusters"] is not None, None, None
    tensor = None  # what the model is called on, where that is no plain input
    if input_tensor is not None:
        options["input_shape"] = _tensor_shape(input_tensor, options["input_shape"])
        if not _is_plain_input(input_tensor):
            tensor, input_tensor = input_tensor, None
    if source == "imagenet":
        file = released_file(
            size, options["clustering"], options["clusters"], options["cluster_every"]
        )
    elif source is not None:
        checkpoint = weights.open_checkpoint(source)
        if not other_clusters:
            options["clusters"] = clusters_in_checkpoint(checkpoint.tensors)
    _add_information(options, file, checkpoint)

    name = options.pop("name")
    model = PaCaViT(
        **variant_config(size, options["clustering"]),
        **options,
        input_tensor=input_tensor,
        name=name if tensor is None else f"{name}_backbone",
    )
    if file is not None:
        if model.image_shape[2] != 3:
            raise ValueError(
                "The released weights take 3 channels; pass `weights=None` for others. "
                f"Received: input_shape={model.image_shape}"
            )
        checkpoint = weights.fetch(file, url, lambda tensors: _check(file, tensors, model))
    if checkpoint is not None:
        load_weights(model, checkpoint, other_clusters)
    if tensor is None:
        return model
    inputs = keras.utils.get_source_inputs(tensor)
    inputs = inputs[0] if len(inputs) == 1 else inputs  # a list would refuse a bare array
    return keras.Model(inputs, model(tensor), name=name)


def _add_information(
    options: dict[str, Any], file: weights.ReleasedFile | None, checkpoint: Any
) -> None:
    """Add the class names and the evaluation transform of a file to a classifier's options.

    What the caller gave stays. A head for another number of classes has other classes.
    """
    if not options.get("include_top", True):
        return
    if file is None and checkpoint is not None:
        by_name = {released.file: released for released in weights.released_files()}
        file = by_name.get(Path(checkpoint.name).name)
    known = {} if file is None else released_information(file)
    if checkpoint is not None:
        known |= checkpoint.information
    fixed = options["input_shape"][:2] if isinstance(options["input_shape"], tuple | list) else ()
    if known.get("evaluation_transform") and len(fixed) == 2 and None not in fixed:
        known["evaluation_transform"] = {**known["evaluation_transform"], "image_size": fixed}
    complete(options, known, options["classes"])


def released_information(file: weights.ReleasedFile) -> dict[str, Any]:
    """Return the class names and the evaluation transform of a released classifier."""
    if file.task != "classification":
        return {}
    return {
        "class_names": [name for _, name in imagenet_classes()],
        "evaluation_transform": {"image_size": [224, 224], "crop": file.crop},
    }


def _check(file: weights.ReleasedFile, tensors: Mapping[str, np.ndarray], model: PaCaViT) -> None:
    """Raise where a file isn't the classifier that its row of the table names."""
    config = model.get_config() | {"clusters": file.clusters, "include_top": True}
    check_released(file, tensors, checkpoint_map(config))
    channels = [tensors[key].size for key in sorted(tensors) if re.fullmatch(r"norm\d.weight", key)]
    if channels != model.hidden_dims:
        raise ValueError(f"{file.file} should be {file.variant} and has the channels {channels}.")


def check_released(
    file: weights.ReleasedFile, tensors: Mapping[str, np.ndarray], key_map: weights.KeyMap
) -> None:
    """Raise where a file holds other clusters or keys than its row of the table names.

    Args:
        file: the row.
        tensors: what the file holds.
        key_map: the keys that it should hold.

    Raises:
        ValueError: if it doesn't.
    """
    held = clusters_in_checkpoint(tensors)
    if held != file.clusters:
        raise ValueError(f"{file.file} should have {file.clusters} clusters and has {held}.")
    missing = key_map.keys() - tensors.keys()
    unexpected = tensors.keys() - key_map.keys() - constant_tensors(tensors)
    if missing or unexpected:
        raise ValueError(
            f"{file.file} should be {file.variant}, head={file.head!r}. Missing: "
            f"{sorted(missing)[:3]}; unexpected: {sorted(unexpected)[:3]}."
        )


def _tensor_shape(tensor: Any, input_shape: Any) -> tuple:
    """Return the shape that `input_tensor` gives the input."""
    if not isinstance(tensor, keras.KerasTensor):
        raise ValueError(
            "`input_tensor` must be a `keras.Input` or another symbolic Keras tensor. "
            f"Received: input_tensor={tensor!r}"
        )
    shape = tuple(tensor.shape[1:])
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(
            "`input_shape` and `input_tensor` must agree where both are given. "
            f"Received: input_shape={tuple(input_shape)} and a tensor of shape {shape}"
        )
    return shape


def _is_plain_input(tensor: Any) -> bool:
    """Return whether a tensor is an input such as the model makes by itself."""
    sources = keras.utils.get_source_inputs(tensor)
    return len(sources) == 1 and sources[0] is tensor and tensor.dtype == keras.config.floatx()


_DOCSTRING = """Build PaCa-{size}, with the released ImageNet weights by default.

    Channels {hidden_dims}, depths {depths} (with a teacher {teacher}), heads {num_heads}.

    Args:
        include_top: whether the model ends in a classifier.
        include_preprocessing: whether the model takes RGB in 0..255 and normalises it; else it
            takes images normalised by the caller.
        weights: "imagenet" for the released file, downloaded once; `None` for random values; or
            the path of an official `.pth`, a `.safetensors`, `.weights.h5` or `.keras` file. A
            detection or segmentation checkpoint gives its backbone.
        input_tensor: a `keras.Input`, or another symbolic tensor: then the result is a plain
            `keras.Model` over the whole graph.
        input_shape: (height, width, channels), (None, None, 3) by default; sides from 32, odd
            ones allowed, `None` for any.
        pooling: without the top: `None` for the map (batch, height, width, channels), "avg" or
            "max" for a vector.
        classes: number of classes of the top; other than the file's, the head starts fresh.
        classifier_activation: activation of the top, `None` for logits.
        name: name of the model.
        clustering: "conv", "mlp", "linear" or "teacher".
        clusters: clusters per stage, or one number for all; 0 is plain attention. By default
            those of the file, or (100, 100, 100, 0), with a teacher 100 in each stage. Others
            start from the standard file with fresh last projections.
        cluster_every: `None` for an assignment once per stage, n for one in every n-th block; or
            one entry per stage.
        drop_path_rate: of the last block; by default 0.1, for Base with conv clustering 0.5.
        attention_dropout: rate on the attention weights.
        dropout: rate after projections.
        remat: whether training computes each block again in the backward pass, in place of
            holding what it computed: less memory, more time, the same gradients.
        class_names: Sequence of str. The name of each class, which a saved model keeps; by default
            those of the file, where it has as many classes.
        evaluation_transform: dict. How images are prepared for the model, as keyword arguments of
            `keras_paca.evaluation_transform`; by default that of the file.
        weights_url: where a mirror of the released files lies; by default the environment
            variable KERAS_PACA_WEIGHTS_URL or the authors' own address.
        dtype: dtype or policy of every layer.

    Returns:
        A `keras_paca.PaCaViT`. Input (batch, height, width, channels); output (batch, classes).

    Raises:
        ValueError: if an argument or the file doesn't fit, or nobody released such weights.
        FileNotFoundError: if there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.
    """

PaCaTiny = _variant("tiny")
PaCaSmall = _variant("small")
PaCaBase = _variant("base")
