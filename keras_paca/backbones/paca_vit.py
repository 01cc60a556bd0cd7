"""PaCa-ViT: Patch-to-Cluster Attention in Vision Transformers (Grainger et al., CVPR 2023).

Paper: https://arxiv.org/abs/2203.11987. Official code: https://github.com/iVMCL/PaCaViT (MIT).
Read from top to bottom: the graph, the checkpoint keys, what released files need, the variants.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import check_choice, check_positive, check_rate
from keras_paca.backbones.base import Backbone
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.backbones.loading import Related, of_backbone
from keras_paca.backbones.per_stage import STAGES, image_size, integers_per_stage, per_stage
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.backbones.variants import variant
from keras_paca.layers.auxiliary import AUXILIARY, auxiliary_options
from keras_paca.weights import Entry

ATTENTIONS = ("paca", "castling")
CLUSTERINGS = ("conv", "mlp", "linear", "teacher")
RATES = ("drop_path_rate", "attention_dropout", "dropout")


# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaViT(Backbone):
    """PaCa-ViT of any size: a classifier, or with `include_top=False` a pyramid backbone.

    Stem -> 4 x (blocks -> LayerNorm), with a transition between the stages -> mean -> classifier.
    The output of each stage, after its norm, is a level of the pyramid: P2 to P5, of the strides 4
    to 32. "Per stage" means one entry for each of the four stages, or one value for all.

    Args:
        hidden_dims: Sequence of int. Channels per stage, even in the first.
        depths: int or Sequence of int. Blocks per stage.
        num_heads: int or Sequence of int. Attention heads per stage. Each divides the channels of
            its stage.
        mlp_ratio: float or Sequence of float. Per stage, width of the feed-forward networks' hidden
            layers, as a multiple of the channels.
        clustering: str. "conv", "mlp" or "linear" for assignments computed from each stage's own
            map; "teacher" for those of a ConvMixer beside the backbone.
        clusters: int or Sequence of int. Clusters per stage; 0 is plain attention. By default those
            of the file that is loaded, or (100, 100, 100, 0), with a teacher 100 in each stage. The
            last projections of the clusterings keep their initial values if the file has others.
        cluster_every: int or Sequence of int. Per stage, the blocks that compute an assignment:
            `None` for the first, 1 for all, n for every n-th. A teacher computes one per stage.
        kernel_size: int or Sequence of int. Per stage, side of the kernel of the clustering's
            depthwise convolution. A teacher has one for all.
        teacher_depths: int or Sequence of int. ConvMixer units per stage of the teacher.
        dwconv_in_mlp: bool. Whether the feed-forward networks have a depthwise convolution.
        shortcut_in_mlp: bool. Whether that convolution has a shortcut.
        layer_scale: float. Initial value of learned scales on the residual branches, or `None`.
        post_norm: bool. Whether the outputs of the branches are normalized instead of their inputs.
        sub_norm: bool. Whether both the inputs and the outputs of the branches are normalized.
        position_embedding_size: int or (int, int). Image size (height, width) for which each stage
            learns a position embedding, which is resized for other sizes, or `None`.
        cluster_position_embedding: bool. Whether a learned vector is added to each cluster.
        cluster_norm: bool. Whether layer normalization is applied to the clusters.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0. Each size has the paper's by default.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after projections.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.
        recompute_activations: bool. Whether training computes attention weights and activations
            again in the backward pass, if that pays; see `keras_paca.ops.is_recomputed`.
        attention: str. "paca" for attention to clusters, "castling" for the linear angular
            attention of Castling-ViT in all stages, whose cost is linear in the number of patches,
            too. There are no clusters then, whatever `clusters` is. See
            `keras_paca.layers.LinearAngularAttention` for the arguments below, which are its own.
        auxiliary: bool. Whether castling adds masked softmax attention in training, whose cost
            grows with the square of the number of patches: in the first stage, an image of
            224 x 224 has 3136 and one of 800 x 1280 has 64,000. The attribute of this name can be
            set to `False` after training.
        threshold: float. Weights of that softmax above it are kept, in [0, 1].
        convolution: str. "tokens" for a convolution of castling's values along the patches, row
            after row, as in the official code; "grid" for one over rows and columns.
        local_kernel_size: int. Length of that convolution's filters, odd. With "grid", their side.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the map P5 or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.

    Example:
    >>> backbone = PaCaViT((8, 8, 16, 16), depths=1, num_heads=1, include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 7, 6, 16)
    >>> list(backbone.pyramid_outputs)
    ['P2', 'P3', 'P4', 'P5']
    """

    family = "paca_vit"
    file_options = ("clusters",)
    variant_prefix = "PaCa"
    variant_options = (
        *("clustering", "clusters", "cluster_every", "drop_path_rate", "attention_dropout"),
        *("dropout", "remat", "recompute_activations"),
        *("attention", "auxiliary", "threshold", "convolution", "local_kernel_size"),
    )
    other_files = (
        'With `attention="castling"`, for which nobody released weights, it may be the path of a\n'
        "    PaCa-ViT file. The attention's filters, which it lacks, keep their initial values."
    )
    auxiliary = AUXILIARY

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: int | Sequence[int],
        num_heads: int | Sequence[int],
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
        recompute_activations: bool = True,
        attention: str = "paca",
        auxiliary: bool = False,
        threshold: float = 0.02,
        convolution: str = "tokens",
        local_kernel_size: int = 9,
        **kwargs: Any,
    ) -> None:
        config = {name: value for name, value in locals().items() if name in self.option_names()}
        config |= {
            "hidden_dims": integers_per_stage("hidden_dims", hidden_dims),
            "depths": integers_per_stage("depths", depths),
            "num_heads": integers_per_stage("num_heads", num_heads),
            "mlp_ratio": per_stage("mlp_ratio", mlp_ratio),
            "clusters": clusters_per_stage(0 if attention == "castling" else clusters, clustering),
            "cluster_every": _cluster_every(cluster_every),
            "kernel_size": integers_per_stage("kernel_size", kernel_size),
            "teacher_depths": integers_per_stage("teacher_depths", teacher_depths, least=0),
            "position_embedding_size": image_size(
                "position_embedding_size", position_embedding_size
            ),
        }
        _check_config(config)
        super().__init__(config, **kwargs)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, without weights and tensors."""
        return {**super().get_config(), **auxiliary_options(self)}

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the stem and the stages; see `Backbone`."""
        x = make.first(layers.OverlappingStem, "stem", images, config["hidden_dims"][0])
        given, features = _teach(x, config, make)
        levels, assignments = {}, {}
        rates = iter(np.linspace(0.0, config["drop_path_rate"], sum(config["depths"])).tolist())
        for stage, level in enumerate(LEVELS):
            if stage > 0:
                filters = config["hidden_dims"][stage]
                x = make(layers.OverlappingTransition, f"transition{stage}", filters)(x)
            x, made = _stage(x, given.get(level), stage, rates, config, make)
            if made:
                assignments[level] = made
            if features:
                x = make(keras.layers.Add, f"stage{stage + 1}_add_teacher")([x, features[stage]])
            norm = make(keras.layers.LayerNormalization, f"stage{stage + 1}_norm", epsilon=1e-6)
            x = levels[level] = norm(x)
        return x, levels, assignments

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs; see `Backbone`."""
        entries = weights.KeyMap()
        entries.kernel("patch_embed.proj.0", "stem/conv1", "conv")
        entries.kernel("patch_embed.proj.1", "stem/conv2", "conv")
        entries.norm("patch_embed.norm", "stem/norm")
        for i, depth in enumerate(config["depths"]):
            for j in range(depth):
                _add_block(entries, config, i, j)
            entries.norm(f"norm{i + 1}", f"stage{i + 1}_norm")
            if i < STAGES - 1:
                entries.kernel(f"transition{i + 1}.proj", f"transition{i + 1}/conv", "conv")
                entries.norm(f"transition{i + 1}.norm", f"transition{i + 1}/norm")
        if config["clustering"] == "teacher":
            _add_teacher(entries, config)
        if config["include_top"]:
            entries.kernel("head", "predictions", "linear")
        return entries

    # --- Released files -------------------------------------------------------------------------

    @classmethod
    def constant_keys(cls, tensors: Mapping[str, np.ndarray]) -> set[str]:
        """Return the keys without weights: counters of batches and the teacher's blur."""
        taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
        blurs = {
            key
            for key, tensor in tensors.items()
            if key.endswith("blur_filter")
            and tensor.shape[1:] == (1, 3, 3)
            and np.allclose(tensor, taps)
        }
        return super().constant_keys(tensors) | blurs

    @classmethod
    def options_of_file(cls, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the clusters per stage of an official or of a saved Keras file."""
        counts = [0] * STAGES
        for key, stage, axis in _last_projections(tensors):
            counts[stage] = int(tensors[key].shape[axis])
        return {"clusters": tuple(counts)}

    @classmethod
    def fresh_keys(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], source: str
    ) -> set[str]:
        """Return the last projections of clusterings for another number of clusters, and warn."""
        changed = {
            key
            for key, stage, axis in _last_projections(tensors)
            if tensors[key].shape[axis] != config["clusters"][stage] > 0
        }
        if changed:
            held = cls.options_of_file(tensors)["clusters"]
            weights.warn_fresh(
                source,
                "the last clustering projection of those stages",
                f"made for {held} clusters, not {config['clusters']}",
            )
        return changed

    @classmethod
    def related_checkpoint(
        cls, checkpoint: weights.Checkpoint, config: Mapping[str, Any]
    ) -> Related | None:
        """Return what a model with castling attention takes of a PaCa-ViT: all but clusters."""
        tensors, start = dict(checkpoint.tensors), "backbone."
        if start + FIRST_QUERY in tensors:
            tensors = {k.removeprefix(start): x for k, x in tensors.items() if k.startswith(start)}
        is_related = FIRST_QUERY in tensors and not any(key.endswith(FILTER) for key in tensors)
        if config["attention"] != "castling" or not is_related:
            return None
        own, marks = cls.checkpoint_map(config).keys(), ("paca_teacher.", ".attn.cluster")
        unused = {key for key in tensors if any(mark in key for mark in marks)}
        local = {key for key in own if key.endswith(FILTER)}
        fresh = local | {key for key in own - tensors.keys() if key.startswith("head.")}
        part = "each attention's filter" + (" and the head" if fresh > local else "")
        return Related(tensors, unused, fresh, part, "made for attention to clusters")

    @classmethod
    def rank(cls, file: weights.ReleasedFile, options: Mapping[str, Any]) -> int | None:
        """Return 0 for a file with these clusters, 1 for one with clusters in the same stages."""
        if options.get("attention") == "castling":
            return None
        clustering, clusters = options["clustering"], options["clusters"]
        every = set(_cluster_every(options["cluster_every"]))
        if file.options["clustering"] != clustering or every != {file.options["cluster_every"]}:
            return None
        if clusters is None and file.task == "segmentation":
            return 0  # the ablations differ only in the weights that their training started from
        wanted, held = clusters_per_stage(clusters, clustering), file.options["clusters"]
        if held == wanted:
            return 0
        same_stages = [count > 0 for count in held] == [count > 0 for count in wanted]
        return 1 if clusters is not None and same_stages else None

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file imply; see `Backbone`."""
        tensors = of_backbone(checkpoint.tensors)
        if checkpoint.official:
            norm, block, own = "norm{}.weight", r"stage{}\.(\d+)\.", r"attn\.clustering"
            marks = {"teacher": "paca_teacher", "conv": "clustering.4.", "mlp": "clustering.2."}
        else:
            norm, block, own = "stage{}_norm/0", r"stage{}_block(\d+)/", "clustering"
            marks = {"teacher": "teacher/", "mlp": "clustering/hidden"}
            marks["conv"] = "clustering/depthwise"
        stages = range(1, STAGES + 1)
        blocks, clustered = (
            [
                sorted({int(m[1]) for k in tensors if (m := re.match(each.format(i), k))})
                for i in stages
            ]
            for each in (block, block + own)
        )
        norms = [tensors[norm.format(i)].size for i in stages if norm.format(i) in tensors]
        if not norms:
            return None
        made_by = (name for name, mark in marks.items() if any(mark in key for key in tensors))
        official = checkpoint.official
        local = tensors.get(f"stage1.0.{FILTER}" if official else "stage1_block1/attention/local/0")
        attention = {
            "clustering": next(made_by, "linear"),
            "cluster_every": [b[1] - b[0] if len(b) > 1 else None for b in clustered],
        }
        if local is not None:
            rows, columns = local.shape[2:] if official else local.shape[:2]
            convolution = "tokens" if columns == 1 else "grid"
            attention = {"attention": "castling", "convolution": convolution}
            attention["local_kernel_size"] = int(rows)
        return {
            "hidden_dims": tuple(norms),
            "depths": tuple(map(len, blocks)),
            **attention,
            **cls.options_of_file(tensors),
        }


def _teach(x: Any, config: Mapping[str, Any], make: GraphMaker) -> tuple[dict, list]:
    """Return the assignments of the teacher by level, and its maps; both empty without one."""
    if config["clustering"] != "teacher":
        return {}, []
    names = ("hidden_dims", "teacher_depths", "clusters")
    sizes = (*(config[name] for name in names), config["kernel_size"][0])
    assignments, features = make(layers.ConvMixerTeacher, "teacher", *sizes)(x)
    clustered = [level for level, count in zip(LEVELS, config["clusters"], strict=True) if count]
    return dict(zip(clustered, assignments, strict=True)), features


def _stage(
    x: Any, assignment: Any, stage: int, rates: Any, config: Mapping[str, Any], make: GraphMaker
) -> tuple[Any, list]:
    """Apply a stage's blocks; return the map and the assignment after each block."""
    made, grid = [], None
    if config["position_embedding_size"] is not None:
        grid = tuple(side // 4 // 2**stage for side in config["position_embedding_size"])
    for j in range(config["depths"][stage]):
        name = f"stage{stage + 1}_block{j + 1}"
        block = make(
            layers.PaCaBlock,
            name,
            config["num_heads"][stage],
            clustering=_clustering(f"{name}/clustering", config, stage, j, make),
            mlp_ratio=config["mlp_ratio"][stage],
            drop_path_rate=next(rates),
            position_embedding_size=grid if j == 0 else None,
            castling=_castling(config),
            **{option: config[option] for option in OF_BLOCKS},
        )
        if config["clusters"][stage]:
            x, assignment = block(x, assignment)
            made.append(assignment)
        else:
            x = block(x)
    return x, made


OF_BLOCKS = (  # options that all blocks have in common
    *("attention_dropout", "dropout", "layer_scale", "post_norm", "sub_norm"),
    *("cluster_position_embedding", "cluster_norm", "dwconv_in_mlp", "shortcut_in_mlp"),
    *("remat", "recompute_activations"),
)


def _castling(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the options of the blocks' castling attention, or `None` for attention to clusters."""
    if config["attention"] != "castling":
        return None
    options = {name: config[name] for name in ("auxiliary", "threshold", "convolution")}
    return options | {"kernel_size": config["local_kernel_size"]}


def _makes_clusters(config: Mapping[str, Any], stage: int, block: int) -> bool:
    """Return whether a block computes its own assignment."""
    if config["clustering"] == "teacher" or not config["clusters"][stage]:
        return False
    every = config["cluster_every"][stage]
    return block == 0 or (every is not None and block % every == 0)


def _clustering(
    path: str, config: Mapping[str, Any], stage: int, block: int, make: GraphMaker
) -> keras.layers.Layer | None:
    """Create the clustering layer of a block, or return `None` if it has none."""
    if not _makes_clusters(config, stage, block):
        return None
    cls, option = CLUSTERING_LAYERS[config["clustering"]]
    more = [] if option is None else [config[option][stage]]
    return make(cls, path, config["clusters"][stage], *more)


CLUSTERING_LAYERS = {  # class, and the option per stage that it takes
    "conv": (layers.ConvClustering, "kernel_size"),
    "mlp": (layers.MLPClustering, "mlp_ratio"),
    "linear": (layers.LinearClustering, None),
}


# --- Arguments ------------------------------------------------------------------------------


def clusters_per_stage(clusters: Any, clustering: str) -> tuple[int, ...]:
    """Return the argument `clusters` with one entry per stage.

    Args:
        clusters: int, Sequence of int or None. The argument.
        clustering: str. The argument `clustering`, on which the default depends.

    Example:
    >>> clusters_per_stage(None, "conv")
    (100, 100, 100, 0)
    """
    if clusters is None:
        return (100, 100, 100, 100 if clustering == "teacher" else 0)
    return integers_per_stage("clusters", clusters, least=0)


def _cluster_every(every: Any) -> tuple[int | None, ...]:
    """Return the argument `cluster_every` with one entry per stage."""
    every = (None,) * STAGES if every is None else per_stage("cluster_every", every)
    return tuple(None if n is None else check_positive("cluster_every", n) for n in every)


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise an error if arguments have a wrong type or don't fit one another."""
    for name in RATES:
        check_rate(name, config[name])
    check_choice("clustering", config["clustering"], CLUSTERINGS)
    check_choice("attention", config["attention"], ATTENTIONS)
    has_other = config["clustering"] == "teacher" or config["attention_dropout"]
    if config["attention"] == "castling" and has_other:
        raise ValueError(
            '`attention="castling"` has no teacher of clusters and no `attention_dropout`. '
            f"Received: clustering={config['clustering']!r} and "
            f"attention_dropout={config['attention_dropout']}"
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


# --- Checkpoint keys, part by part ----------------------------------------------------------

ATTENTION_KEYS = {"q": "query", "k": "key", "v": "value", "proj": "attention_output"}
FILTER = "attn.dconv.weight"  # of castling attention, by the name in its official code
FIRST_QUERY = "stage1.0.attn.q.weight"
CLUSTERING_KEYS = {  # number of the official layer, our layer, layout, whether it has a bias
    "conv": (
        (0, "depthwise", "depthwise", True),
        (2, "pointwise", "pointwise", True),
        (4, "projection", "pointwise", False),
    ),
    "mlp": ((0, "hidden", "linear", True), (2, "projection", "linear", True)),
    "linear": ((0, "projection", "linear", False),),
}


def _add_block(entries: weights.KeyMap, config: Mapping[str, Any], stage: int, j: int) -> None:
    """Add the keys of a block."""
    key, block = f"stage{stage + 1}.{j}", f"stage{stage + 1}_block{j + 1}"
    clustered = config["clusters"][stage] > 0
    if config["position_embedding_size"] is not None and j == 0:
        entries[f"{key}.pos_embed"] = Entry(block, "position_embedding", "positions")
    if config["layer_scale"] is not None:
        entries[f"{key}.gamma1"] = Entry(block, "scale1", "vector")
        entries[f"{key}.gamma2"] = Entry(block, "scale2", "vector")
    for number in (1, 2):
        if config["sub_norm"] or not config["post_norm"]:
            entries.norm(f"{key}.norm{number}_before", f"{block}/norm{number}_before")
        if config["sub_norm"] or config["post_norm"]:
            entries.norm(f"{key}.norm{number}_after", f"{block}/norm{number}_after")
    attention = f"{block}/attention"
    if clustered and config["cluster_position_embedding"]:
        entries[f"{key}.attn.cluster_pos_enc"] = Entry(attention, "cluster_embedding", "clusters")
    if clustered and config["cluster_norm"]:
        entries.norm(f"{key}.attn.cluster_norm", f"{attention}/cluster_norm")
    if _makes_clusters(config, stage, j):
        for number, layer, layout, bias in CLUSTERING_KEYS[config["clustering"]]:
            official = f"{key}.attn.clustering.clustering.{number}"
            entries.kernel(official, f"{block}/clustering/{layer}", layout, bias)
    for official, layer in ATTENTION_KEYS.items():
        entries.kernel(f"{key}.attn.{official}", f"{attention}/{layer}", "linear")
    if config["attention"] == "castling":
        entries[f"{key}.{FILTER}"] = Entry(f"{attention}/local", "kernel", "depthwise")
    entries.kernel(f"{key}.mlp.fc1", f"{block}/mlp/expand", "linear")
    if config["dwconv_in_mlp"]:
        entries.kernel(f"{key}.mlp.dwconv.dwconv", f"{block}/mlp/depthwise", "depthwise")
    entries.kernel(f"{key}.mlp.fc2", f"{block}/mlp/project", "linear")


def _add_teacher(entries: weights.KeyMap, config: Mapping[str, Any]) -> None:
    """Add the keys of the teacher."""

    def unit(key: str, layer: str) -> None:
        entries.kernel(f"{key}.0.fn.0", f"{layer}/depthwise", "depthwise")
        entries.batch_norm(f"{key}.0.fn.2", f"{layer}/norm1")
        entries.kernel(f"{key}.1", f"{layer}/pointwise", "pointwise")
        entries.batch_norm(f"{key}.3", f"{layer}/norm2")

    for n, depth in enumerate(config["teacher_depths"], start=1):
        for j in range(depth):
            unit(f"paca_teacher.block{n}.{j}", f"teacher/stage{n}_unit{j + 1}")
        if n < STAGES:
            key, layer = f"paca_teacher.transition{n}", f"teacher/transition{n}"
            entries.kernel(f"{key}.0.conv", f"{layer}/conv", "conv")
            entries.batch_norm(f"{key}.2", f"{layer}/norm")
            key, layer = f"paca_teacher.lateral{n}", f"teacher/lateral{n}"
            entries.kernel(f"{key}.0", f"{layer}/pointwise", "pointwise")
            entries.batch_norm(f"{key}.2", f"{layer}/norm")
            unit(f"paca_teacher.fpn{n}", f"teacher/top_down_unit{n}")
        if config["clusters"][n - 1]:
            key = f"paca_teacher.to_clusters{n}"
            entries.kernel(key, f"teacher/projection{n}", "pointwise")


_LAST_PROJECTION = re.compile(
    r"(?:backbone\.)?stage(\d)\.\d+\.attn\.clustering\.clustering\.(\d)\.(?:weight|bias)"
    r"|(?:backbone\.)?paca_teacher\.to_clusters(\d)\.(?:weight|bias)"
    r"|stage(\d)_block\d+/clustering/projection/([01])"
    r"|teacher/projection(\d)/([01])"
)


def _last_projections(tensors: Mapping[str, np.ndarray]) -> list[tuple[str, int, int]]:
    """Return (key, stage, axis of the clusters) of the projections that end a clustering."""
    matches = [match for key in tensors if (match := _LAST_PROJECTION.fullmatch(key))]
    last = max((match[2] or "" for match in matches), default="")
    found = []
    for match in matches:
        stage = int(match[1] or match[3] or match[4] or match[6]) - 1
        axis = 1 - int(match[5] or match[7] or 1)  # Keras has (channels, clusters)
        is_last = match[2] in (None, last) and 0 <= stage < STAGES
        if is_last and tensors[match[0]].ndim > axis:
            found.append((match[0], stage, axis))
    return found


# --- Variants -------------------------------------------------------------------------------

SMALL = {"hidden_dims": (96, 192, 320, 384), "num_heads": (2, 4, 8, 16), "drop_path_rate": 0.1}
BASE = {"hidden_dims": (96, 192, 384, 512), "num_heads": (2, 4, 8, 16), "drop_path_rate": 0.1}
TEACHER, CONV = ("clustering", "teacher"), ("clustering", "conv")

PaCaTiny = variant(
    PaCaViT, "paca_tiny", **SMALL, depths=(2, 2, 4, 2), when={TEACHER: {"depths": (2, 2, 2, 2)}}
)
PaCaSmall = variant(
    PaCaViT, "paca_small", **SMALL, depths=(3, 3, 10, 3), when={TEACHER: {"depths": (3, 3, 7, 3)}}
)
BASE_WITH = {
    TEACHER: {"depths": (3, 3, 16, 3), "teacher_depths": (2, 2, 4, 2)},
    CONV: {"drop_path_rate": 0.5},
}
PaCaBase = variant(PaCaViT, "paca_base", **BASE, depths=(3, 3, 18, 3), when=BASE_WITH)
