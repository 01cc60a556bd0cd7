"""Starting from a plain vision transformer, of timm's keys or of KerasHub's."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import CastlingViT, ViTTM, weights
from keras_paca.backbones.convert import official_tensors
from keras_paca.backbones.loading import CLASSIFICATION, find_source, load_weights
from keras_paca.backbones.plain_vit import plain_vit_tensors
from keras_paca.warn import FreshWeightsWarning
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.parity import recipe
from tests.torch_writer import save_zip


def small(**options):
    """Return a ViTTM of two blocks."""
    return ViTTM(16, 2, **{"depth": 2, "classes": 3, "process_patch_size": 32, **options})


def timm_tensors(patch=16, depth=2, dim=16):
    """Return the tensors of a plain ViT under timm's keys."""
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 5, dim)}
    shapes |= {"patch_embed.proj.weight": (dim, 3, patch, patch), "patch_embed.proj.bias": (dim,)}
    for i in range(depth):
        key = f"blocks.{i}"
        for name, outputs, inputs in (
            ("attn.qkv", 3 * dim, dim),
            ("attn.proj", dim, dim),
            ("mlp.fc1", 4 * dim, dim),
            ("mlp.fc2", dim, 4 * dim),
        ):
            shapes |= {f"{key}.{name}.weight": (outputs, inputs), f"{key}.{name}.bias": (outputs,)}
        for name in ("norm1", "norm2"):
            shapes |= {f"{key}.{name}.weight": (dim,), f"{key}.{name}.bias": (dim,)}
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,), "head.weight": (3, dim)}
    return {key: recipe.fill(key, shape) for key, shape in {**shapes, "head.bias": (3,)}.items()}


def open_(tensors, official=True):
    return weights.Checkpoint("vit.pth", official, tensors)


@pytest.mark.parametrize("patch", [16, 28])
def test_timm(patch):
    """The blocks, and the patch projection of a memory with the same patches; all else is fresh."""
    model, tensors = small(memory_patch_size=patch), timm_tensors()
    before = official_tensors(model)
    part = "all but the transformer blocks" + (" and the memory's" if patch == 16 else " keeps")
    with pytest.warns(FreshWeightsWarning, match=f"a plain vision transformer; {part}"):
        load_weights(model, open_(tensors))
    for key, array in official_tensors(model).items():
        if key.startswith("memory_embedder.") and patch == 16:
            wanted = tensors[key.replace("memory_embedder", "patch_embed")]
        else:
            wanted = tensors[key] if key.startswith("blocks.") else before[key]
        np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks.1.attn.proj.bias": None}, "missing in the file: blocks.1.attn.proj.bias"),
        ({"blocks.2.attn.proj.bias": 16}, "unknown to the model: blocks.2"),
        ({"blocks.1.ls1.gamma": 16}, "unknown to the model: blocks.1.ls1"),
        ({"blocks.0.norm1.bias": 15}, "of another shape: blocks.0.norm1"),
        ({"extra": 1}, "unknown to the model: extra"),
        ({"memory_embedder.proj.bias": 16}, "missing in the file"),  # no plain ViT any more
    ],
)
def test_all_else_is_strict(change, words):
    tensors = timm_tensors()
    for key, size in change.items():
        tensors.pop(key, None)
        if size is not None:
            tensors[key] = np.zeros(size, "float32")
    model = small()
    before = model.get_weights()
    with pytest.raises(ValueError, match=words):
        load_weights(model, open_(tensors))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@slow_but_on_torch
def test_without_biases_of_queries_keys_and_values():
    tensors = {key: x for key, x in timm_tensors().items() if not key.endswith("qkv.bias")}
    model = small(qkv_bias=False)
    with pytest.warns(FreshWeightsWarning, match="a plain vision transformer"):
        load_weights(model, open_(tensors))
    found = official_tensors(model)["blocks.1.attn.qkv.weight"]
    np.testing.assert_array_equal(found, tensors["blocks.1.attn.qkv.weight"])


def test_other_files():
    model = small()
    assert plain_vit_tensors(open_(official_tensors(model))) is None
    assert plain_vit_tensors(open_({"block1/mlp/expand/1": np.zeros(2)}, official=False)) is None


@slow_but_on_torch
def test_layer_scale_is_read_from_the_keys(tmp_path):
    """Of a plain ViT such as DeiT-3, of an official ViTTM and of a saved one."""
    keys = [f"blocks.{i}.ls{n}.gamma" for i in range(2) for n in (1, 2)]
    scales = {key: np.full(16, 0.5, "float32") for key in keys}
    save_zip(tmp_path / "vit.pth", {**timm_tensors(), **scales})
    options = dict.fromkeys(ViTTM.file_options)
    source = find_source(ViTTM, "small", CLASSIFICATION, tmp_path / "vit.pth", options)
    completed = source.complete(options)
    model = small(layer_scale=completed["layer_scale"])
    with pytest.warns(FreshWeightsWarning, match="a plain vision transformer"):
        source.load(model, options, None)
    assert (ops.convert_to_numpy(model.get_layer("block2").scale2) == 0.5).all()
    saved = small(layer_scale=0.25)
    saved.save(tmp_path / "saved.keras")
    keras_file = weights.open_checkpoint(tmp_path / "saved.keras").tensors
    for tensors in (official_tensors(saved), keras_file):
        assert "layer_scale" in ViTTM.options_of_file(tensors)
    assert "layer_scale" not in ViTTM.options_of_file(official_tensors(small()))


@slow_but_on_torch
def test_deit_of_keras_hub():
    """Its tokens and positions are weights of one layer, and its blocks have another one."""
    tensors = {f"deit_patching_and_embedding/{i}": np.zeros((1, 1, 16)) for i in range(3)}
    tensors["deit_patching_and_embedding/patch_embedding/0"] = np.zeros((16, 16, 3, 16))
    block = "dei_t_backbone/deit_encoder/transformer_block_1"
    tensors |= {f"{block}/mha/{name}/1": np.zeros((2, 8)) for name in ("query", "key", "value")}
    tensors[f"{block}/mlp/dense/0"] = np.zeros((16, 64))
    tensors[f"{block}/output_layer/output/0"] = np.zeros((64, 16))
    tensors["predictions/0"] = np.zeros((16, 3))
    found = plain_vit_tensors(open_(tensors, official=False))
    assert {key: value.shape for key, value in found.items()} == {
        "cls_token": (1, 1, 16),
        "dist_token": (1, 1, 16),
        "pos_embed": (1, 1, 16),
        "patch_embed.proj.weight": (16, 3, 16, 16),
        "blocks.0.attn.qkv.bias": (48,),
        "blocks.0.mlp.fc1.weight": (64, 16),
        "blocks.0.mlp.fc2.weight": (16, 64),
        "head.predictions.weight": (16, 3),
    }


@pytest.mark.plugins
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("head", ["backbone", "classifier"])
@pytest.mark.parametrize("kind", ["ViT", "DeiT"])
def test_keras_hub(kind, head, suffix, tmp_path, images):
    """Its blocks compute the same in ours."""
    import keras_hub.models

    width = {"ViT": "mlp_dim", "DeiT": "intermediate_dim"}[kind]
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, width: 64}
    make = getattr(keras_hub.models, f"{kind}Backbone")
    theirs = make(image_shape=(32, 48, 3), patch_size=(16, 16), **sizes)
    draw = np.random.default_rng(0)
    theirs.set_weights([draw.normal(size=w.shape).astype("float32") for w in theirs.weights])
    whole = theirs
    if head == "classifier":
        make = getattr(keras_hub.models, f"{kind}ImageClassifier")
        whole = make(backbone=theirs, num_classes=3)
    path = tmp_path / f"vit{suffix}"
    whole.save(path) if suffix == ".keras" else whole.save_weights(path)
    model = small(memory_patch_size=16)
    with pytest.warns(FreshWeightsWarning, match="a plain vision transformer"):
        load_weights(model, weights.open_checkpoint(path))
    tokens = draw.normal(size=(1, 2, 3, 16)).astype("float32")
    encoder = theirs.get_layer(f"{kind.lower()}_encoder")
    for i, block in enumerate(encoder.encoder_layers, start=1):
        found = ops.reshape(model.get_layer(f"block{i}")(tokens), (1, 6, 16))
        wanted = block(tokens.reshape(1, 6, 16))
        wanted = wanted[0] if kind == "DeiT" else wanted  # and the attention weights
        np.testing.assert_allclose(
            ops.convert_to_numpy(found), ops.convert_to_numpy(wanted), rtol=1e-3, atol=1e-4
        )
    x = images(1, 32, 48, 3) / 255
    embedding = model.get_layer("memory_embedding")
    kernel = theirs.get_layer(f"{kind.lower()}_patching_and_embedding").patch_embedding
    found = embedding(x) - embedding._positions(embedding(x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(found),
        ops.convert_to_numpy(kernel(x)).reshape(found.shape),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.plugins
@pytest.mark.parametrize("suffix", [".keras", pytest.param(".weights.h5", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["ViT", "DeiT"])
def test_castling_vit_of_keras_hub(kind, suffix, tmp_path, images):
    """It computes what KerasHub's network with castling attention and the same filters does."""
    import keras_hub.models

    width = {"ViT": "mlp_dim", "DeiT": "intermediate_dim"}[kind]
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, width: 64}
    make = getattr(keras_hub.models, f"{kind}Backbone")
    theirs = make(image_shape=(48, 48, 3), patch_size=(16, 16), **sizes)
    make = getattr(keras_hub.models, f"{kind}ImageClassifier")
    theirs = randomise(make(backbone=theirs, num_classes=3))
    path = tmp_path / f"vit{suffix}"
    theirs.save(path) if suffix == ".keras" else theirs.save_weights(path)
    checkpoint = weights.open_checkpoint(path)
    options = CastlingViT.options_of_file(checkpoint.tensors)
    assert options == {"patch_size": 16, "image_size": 48, "distillation": kind == "DeiT"}
    shared = {"classes": 3, "include_preprocessing": False, "classifier_activation": None}
    model = CastlingViT(16, 2, depth=2, **shared, **options)
    with pytest.warns(FreshWeightsWarning, match="a plain vision transformer"):
        load_weights(model, checkpoint)
    castled = keras_paca.castle(theirs, prefix_tokens=1 + options["distillation"])
    filters = [w for w in castled.weights if w.path.endswith("local/kernel")]
    for i, kernel in enumerate(filters, start=1):
        kernel.assign(model.get_layer(f"block{i}").attention.local.kernel)
    x = images(2, 48, 48, 3) / 255
    found = keras.Model(model.input, model.get_layer("predictions").output)(x)
    assert error(found, castled(x)) < 1e-5
