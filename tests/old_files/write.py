"""Written once, by the commit named in COMMIT; run again only to add kinds.

It writes small files of many kinds of models and what these compute. It needs the `keras_paca` of
that commit, and leaves the kinds that are there as they are:

    for backend in torch jax; do KERAS_BACKEND=$backend python -m tests.old_files.write; done

files.tar.xz holds the files byte by byte: HDF5 takes 300 kB for a model of the smallest size, and
they have much in common.
"""

import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import keras_paca
from keras_paca import PaCaViT, layers
from keras_paca.detection import MaskRCNN
from keras_paca.segmentation import (
    FCNHead,
    PaCaSegmentationHead,
    Segmenter,
    SemanticFPNHead,
    UPerHead,
)
from tests.old_files.outputs import FOLDER, compute, prepare

SIZE = (48, 64)
LABELS = [1, 3]
NAMES = ["ant", "bee, the", "猫", "dog", "elk"]
TRANSFORM = {"image_size": 224, "crop": 0.9}
MLP = {"clustering": "mlp", "layer_scale": 0.1}
POSITIONS = {
    "clustering": "linear",
    "position_embedding_size": (32, 48),
    "cluster_position_embedding": True,
}
LAYER = re.compile(r"([a-z_]+)\d*/kernel$")
SHARPENED = {"projection": 20, "clusters": 20, "query": 3, "key": 3}  # kernels, by their layers
TEACHER = {"clustering": "teacher", "clusters": (5, 0, 4, 3)}


# --- Models -------------------------------------------------------------------------------------


def vit(**options) -> PaCaViT:
    return PaCaViT(
        **{
            "hidden_dims": (8, 8, 16, 16),
            "depths": 1,
            "num_heads": (1, 2, 2, 4),
            "mlp_ratio": 2.0,
            "clusters": (5, 4, 3, 0),
            "kernel_size": 3,
            "teacher_depths": 1,
            "classes": 5,
            "name": "vit",
            **options,
        }
    )


def backbone(**options) -> PaCaViT:
    return vit(include_top=False, **{"name": "backbone", **options})


def fixed(**options) -> PaCaViT:
    return vit(input_shape=(*SIZE, 3), **options)


def frozen_classifier() -> PaCaViT:
    return vit(
        class_names=NAMES,
        evaluation_transform=TRANSFORM,
        frozen=["stem", "stage1_block1/attention", "predictions"],
        thawed=["stage1_block1/attention/query"],
        drop_path_rate=0.1,
        attention_dropout=0.1,
        dropout=0.1,
    )


def segmenter(head: str, **options) -> Segmenter:
    part, auxiliary = {
        "paca": lambda: (PaCaSegmentationHead(3, 8, name="decode_head"), None),
        "upernet": lambda: (
            UPerHead(3, 8, pool_scales=(1, 2), name="decode_head"),
            FCNHead(3, 8, name="auxiliary_head"),
        ),
        "fpn": lambda: (SemanticFPNHead(3, 8, pyramid_channels=8, name="decode_head"), None),
    }[head]()
    return Segmenter(backbone(), part, 3, auxiliary, name="segmenter", **options)


def named_segmenter() -> Segmenter:
    model = segmenter(
        "paca",
        class_names=NAMES[:3],
        evaluation_transform={"short_side": 64, "long_side": 128},
        ignore_class=9,
        auxiliary_weight=0.3,
    )
    model.backbone.trainable = False
    model.decode_head.query_conv.trainable = False
    return model


def mask_rcnn() -> MaskRCNN:
    return MaskRCNN(
        backbone(),
        3,
        bounding_box_format="xywh",
        channels=4,
        max_detections=8,
        score_threshold=0.01,
        proposals=40,
        candidates=20,
        seed=3,
        class_names=NAMES[:3],
        evaluation_transform={"short_side": 64, "long_side": 128, "pad_to": 128},
        frozen=["neck", "box_head/classify"],
        name="detector",
    )


def own_levels(images: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Return maps of the strides 4 to 32, by layers of the library alone."""
    stem = layers.OverlappingStem(
        8, mean=[120.0, 110.0, 100.0], deviation=[60.0, 50.0, 70.0], name="stem"
    )
    block1 = layers.PaCaBlock(
        2, layers.ConvClustering(4, 3, name="clusters1"), mlp_ratio=2.0, name="block1"
    )
    block2 = layers.PaCaBlock(
        2,
        layers.MLPClustering(3, 2.0, name="clusters2"),
        mlp_ratio=2.0,
        layer_scale=0.5,
        drop_path_rate=0.1,
        name="block2",
    )
    first, _ = block1(stem(images))
    second, _ = block2(layers.OverlappingTransition(12, name="halve1")(first))
    third = layers.OverlappingTransition(8, name="halve2")(second)
    third = layers.DropPath(0.2, seed=1, name="drop")(layers.ConvMLP(2.0, name="mlp")(third))
    fourth = layers.OverlappingTransition(8, name="halve3")(third)
    return [first, second, third, fourth]


def own(size=SIZE) -> keras.Model:
    """Return a model of a user's own."""
    images = keras.Input((*size, 3), name="images")
    first, second, third, fourth = own_levels(images)
    assignments, maps = layers.ConvMixerTeacher((8, 12), (1, 1), (3, 2), 3, name="teacher")(first)
    attention = layers.PatchToClusterAttention(2, cluster_position_embedding=True, name="attention")
    y = attention(first, assignments[0])
    y = layers.DepthwiseConv2D(3, shortcut=True, name="depthwise")(y)
    assignment = layers.LinearClustering(3, name="linear")(maps[1])
    z = layers.PatchToClusterAttention(3, cluster_norm=False, name="attention2")(second, assignment)
    z = layers.PatchToClusterAttention(2, name="attention3")(z, assignments[1])
    pooled = [
        keras.layers.GlobalAveragePooling2D(data_format="channels_last", name=f"pool{i}")(x)
        for i, x in enumerate((y, z, third, fourth))
    ]
    x = keras.layers.Concatenate(name="concatenate")(pooled)
    model = keras.Model(images, keras.layers.Dense(3, name="scores")(x), name="own")
    model.get_layer("block1").attention.query_dense.trainable = False
    model.get_layer("teacher").trainable = False
    return model


def segmenter_of_own() -> Segmenter:
    """Return a segmenter on a plain functional model."""
    images = keras.Input((None, None, 3), name="images")
    levels = dict(zip(("P2", "P3", "P4", "P5"), own_levels(images), strict=True))
    plain = keras.Model(images, levels, name="plain")
    plain.pyramid_outputs = levels
    head = SemanticFPNHead(3, 8, pyramid_channels=8, name="decode_head")
    return Segmenter(plain, head, 3, name="segmenter")


def around() -> keras.Model:
    inner = backbone(input_shape=(*SIZE, 3), drop_path_rate=0.1, remat=True, **MLP)
    inner.get_layer("stage1_block1").mlp.trainable = False
    images = keras.Input((*SIZE, 3), name="images")
    x = keras.layers.Rescaling(0.5, 3.0, name="rescaling")(images)
    x = keras.layers.BatchNormalization(name="norm")(inner(x))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(x)
    return keras.Model(images, keras.layers.Dense(3, name="scores")(x), name="around")


def sequential() -> keras.Model:
    pool = keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="pool")
    return keras.Sequential([backbone(), pool], name="sequential")


def quantized(model: keras.Model, mode: str, **options) -> keras.Model:
    model.quantize(mode, **options)
    return model


def fill(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every weight a random value: fresh scales, centres and statistics change nothing.

    Assignments and attention weights are far from uniform: else queries and keys change nothing.
    """
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "seed_generator_state":
            continue
        values = draw.normal(size=weight.shape)
        if weight.name in ("gamma", "scale1", "scale2", "moving_variance"):
            values = draw.uniform(0.3, 1.7, weight.shape) * np.where(values > 1.5, -1, 1)
            values = np.abs(values) if weight.name == "moving_variance" else values
        elif weight.name == "kernel":
            values *= SHARPENED.get(LAYER.search(weight.path)[1], 1) / np.sqrt(
                np.prod(weight.shape[:-1])
            )
        else:
            values *= 0.3
        weight.assign(values.astype("float32"))
    return model


def fused(model: keras.Model, seed: int = 0) -> keras.Model:
    return keras_paca.fuse(fill(model, seed))


def trained(model: PaCaViT, images: np.ndarray) -> PaCaViT:
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(
        var_list=[model.get_layer("stem").conv1.kernel], var_names=["gamma", "beta", "bias"]
    )
    # JAX would have PyTorch compile the step too.
    jit = {"jit_compile": False} if keras.backend.backend() == "jax" else {}
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **jit)
    model.train_on_batch(images, np.array(LABELS))
    return model


# Each returns a model with its weights; `fill` where nothing else has filled it.
KINDS: dict[str, Callable[[], keras.Model]] = {
    "classifier": lambda: fill(frozen_classifier()),
    "mlp": lambda: fill(
        vit(depths=(2, 3, 1, 1), cluster_every=(1, 2, None, None), post_norm=True, **MLP)
    ),
    "linear": lambda: fill(vit(sub_norm=True, cluster_norm=False, **POSITIONS)),
    "teacher": lambda: fill(vit(**TEACHER)),
    "backbone": lambda: fill(backbone(dwconv_in_mlp=False, trainable=False)),
    "pooled": lambda: fill(backbone(pooling="max", shortcut_in_mlp=False, remat=True)),
    "mixed_float16": lambda: fill(vit(dtype="mixed_float16")),
    "four_channels": lambda: fill(
        vit(
            include_preprocessing=False,
            input_shape=(None, None, 4),
            input_name="channels",
            classifier_activation=None,
        )
    ),
    "fused": lambda: fused(frozen_classifier()),
    "fused_fixed": lambda: fused(fixed(classifier_activation=None)),
    "fused_mlp": lambda: fused(
        vit(depths=(2, 1, 1, 1), cluster_every=(1, None, None, None), post_norm=True, **MLP)
    ),
    "fused_mlp_fixed": lambda: fused(fixed(**MLP)),
    "fused_linear": lambda: fused(vit(cluster_norm=False, sub_norm=True, **POSITIONS)),
    "fused_linear_fixed": lambda: fused(fixed(**POSITIONS)),
    "fused_teacher": lambda: fused(vit(**TEACHER)),
    "fused_teacher_fixed": lambda: fused(fixed(layer_scale=0.1, **TEACHER)),
    "fused_mixed_float16": lambda: fused(fixed(dtype="mixed_float16")),
    "int8": lambda: quantized(fill(vit(class_names=NAMES)), "int8"),
    "int8_part": lambda: quantized(fill(vit(**TEACHER)), "int8", filters="query|pointwise"),
    "int4": lambda: quantized(fill(vit()), "int4"),
    "fused_int8": lambda: quantized(fused(fixed(**MLP)), "int8"),
    "fused_teacher_int8": lambda: quantized(fused(vit(**TEACHER)), "int8"),
    "trained": lambda: trained(fill(vit()), prepare(draw_inputs()["images"])),
    "trained_on_torch": lambda: trained(fill(vit()), prepare(draw_inputs()["images"])),
    "segmenter_paca": lambda: fill(named_segmenter()),
    "segmenter_upernet": lambda: fill(segmenter("upernet")),
    "segmenter_fpn": lambda: fill(segmenter("fpn")),
    "segmenter_own": lambda: fill(segmenter_of_own()),
    "segmenter_int8": lambda: quantized(fill(segmenter("paca")), "int8"),
    "fused_segmenter_paca": lambda: fused(named_segmenter()),
    "fused_segmenter_upernet": lambda: fused(segmenter("upernet")),
    "fused_segmenter_own": lambda: fused(segmenter_of_own()),
    "mask_rcnn": lambda: fill(mask_rcnn()),
    "fused_mask_rcnn": lambda: fused(mask_rcnn()),
    "own": lambda: fill(own()),
    "fused_own": lambda: fused(own((None, None))),
    "fused_own_int8": lambda: quantized(fused(own(), seed=1), "int8"),
    "around": lambda: fill(around()),
    "fused_around": lambda: fused(around()),
    "sequential": lambda: fill(sequential()),
    "fused_sequential": lambda: fused(sequential()),
    "segformer_encoder": lambda: fill(backbone().as_segformer_encoder("encoder")),
    "dict_encoder": lambda: fill(backbone(**MLP).as_dict_encoder("encoder")),
    "fused_dict_encoder": lambda: fused(backbone(**MLP).as_dict_encoder("encoder")),
}
# PyTorch's optimizers are of classes of their own, which Keras loads on PyTorch alone.
ON_JAX = ("trained",)
WITH_WEIGHTS = (
    *("classifier", "teacher", "fused_mlp_fixed", "int8", "segmenter_upernet", "mask_rcnn"),
    *("own", "fused_own"),
)


# --- Files --------------------------------------------------------------------------------------


def draw_inputs() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    # Patches of several sizes, so that no two stages see noise alone.
    coarse = draw.integers(0, 256, (2, 6, 8, 3)).repeat(8, 1).repeat(8, 2)
    fine = draw.integers(0, 256, (2, *SIZE, 3))
    return {
        "images": ((coarse + fine) // 2).astype("uint8"),
        "channels": draw.normal(size=(2, *SIZE, 4)).astype("float16"),
    }


def describe(kind: str, model: keras.Model) -> dict:
    """Return what the file must say beside the weights."""
    config = model.get_config()
    keys = ("class_names", "evaluation_transform", "frozen", "thawed", "trainable")
    modes = [layer.quantization_mode for layer in model._flatten_layers()]
    facts = {
        "class": type(model).__name__,
        "name": model.name,
        "inputs": "channels" if kind == "four_channels" else "images",
        "config": {key: config[key] for key in keys if key in config},
        "trainable_variables": len(model.trainable_variables),
        "quantized": {mode: modes.count(mode) for mode in set(modes) if mode is not None},
    }
    if model.compiled:
        facts["labels"] = LABELS
        optimizer = model.optimizer
        facts["decayed"] = [
            v.path for v in model.trainable_variables if optimizer._use_weight_decay(v)
        ]
    return facts


def write(kind: str, folder: Path, facts: dict, arrays: dict) -> None:
    model = KINDS[kind]()
    facts[kind] = describe(kind, model)
    images = prepare(arrays[facts[kind]["inputs"]])
    model.save(folder / f"{kind}.keras")
    if kind in WITH_WEIGHTS:
        model.save_weights(folder / f"{kind}.weights.h5")
    outputs = compute(model, images)
    if model.compiled:
        model.train_on_batch(images, np.array(LABELS))
        outputs["trained_again"] = model.predict(images, verbose=0)
    for name, array in outputs.items():
        assert np.isfinite(array).all(), (kind, name)
        arrays[f"{kind}/{name}"] = np.asarray(array)


def main() -> None:
    commit = FOLDER / "COMMIT"
    if not commit.exists():
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, check=True)
        commit.write_bytes(head.stdout)
    library = Path(keras_paca.__file__).parent
    subprocess.run(
        ["git", "diff", "--exit-code", commit.read_text().strip(), "--", library], check=True
    )
    files, facts_path, arrays_path = (
        FOLDER / name for name in ("files.tar.xz", "facts.json", "outputs.npz")
    )
    facts, arrays = {}, draw_inputs()
    with tempfile.TemporaryDirectory() as folder:
        if facts_path.exists():
            facts = json.loads(facts_path.read_text())
            arrays = dict(np.load(arrays_path))
            with tarfile.open(files) as archive:
                archive.extractall(folder, filter="data")
        for kind in KINDS:
            if kind not in facts and (kind in ON_JAX) == (keras.backend.backend() == "jax"):
                print(kind)
                write(kind, Path(folder), facts, arrays)
        with tarfile.open(files, "w:xz", preset=9) as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.add(path, path.name, filter=_anonymous)
    facts_path.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
    np.savez_compressed(arrays_path, **arrays)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
