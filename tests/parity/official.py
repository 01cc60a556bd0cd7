"""The parity cases: how each is built, run and compared."""

from pathlib import Path

import keras
import numpy as np

from keras_paca.backbones import paca_vit
from keras_paca.weights import load_official, model_variables
from tests.parity import recipe

CASES = Path(__file__).parent / "cases"
SMALL = ("tiny_options_a", "tiny_options_b", "tiny_linear_blockwise", "pacavit_tiny_p2cconv_100_0")
LARGE = (
    "pacavit_small_p2cconv_100_0",
    "pacavit_small_p2cconv_100_blockwise",
    "pacavit_small_p2cmlp_100_0",
    "pacavit_convmixer_small_100",
)
BAR = 5e-6  # relative error of logits, features, assignments and gradients in float32
TEACHER_NORM_BAR, TEACHER_DOT_BAR = 1e-4, 3e-4  # gradients through its batch norms
# The teacher's stand-in weights make logits of up to 4,000, and its softmaxes carry what float32
# lost before them: the official operations in float32 are 5e-5 off their own float64 there. In
# float64 all agree to the bar below.
TEACHER_BAR = 1e-4
FLOAT64_BAR = 1e-7  # the cases are stored in float32
CLUSTERINGS = {"P2CConv2d": "conv", "P2CMlp": "mlp", "P2CLinear": "linear"}


def case(name):
    """Return (description, stand-in checkpoint, expected arrays)."""
    return recipe.case(CASES / name)


def build(name, description, **options):
    """Return the model of a case, without weights, from normalised images to logits."""
    options = {"include_preprocessing": False, "classifier_activation": None, **options}
    if "options" in description:
        return paca_vit.PaCaViT(**{**official_options(description["options"]), **options})
    size = "small" if "small" in name else "tiny"
    clustering = "teacher" if "convmixer" in name else "mlp" if "mlp" in name else "conv"
    blockwise = "blockwise" in name
    factory = {"tiny": paca_vit.PaCaTiny, "small": paca_vit.PaCaSmall}[size]
    return factory(
        weights=None,
        clustering=clustering,
        clusters=100 if blockwise else None,
        cluster_every=1 if blockwise else None,
        **options,
    )


def official_options(options):
    """Return the official arguments as those of `PaCaViT`."""
    architecture, paca = options["arch_cfg"], options["paca_cfg"]
    return {
        "hidden_dims": architecture["embed_dims"],
        "depths": architecture["depths"],
        "num_heads": architecture["num_heads"],
        "mlp_ratio": architecture["mlp_ratios"],
        "clustering": CLUSTERINGS[paca["type"]],
        "clusters": paca["clusters"],
        "cluster_every": [n or None for n in paca["onsite_clustering"]],
        "kernel_size": paca["clustering_kernel_size"],
        "dwconv_in_mlp": paca["with_dwconv_in_mlp"],
        "shortcut_in_mlp": paca["with_shortcut_in_mlp"],
        "cluster_norm": paca["cluster_norm_cfg"] is not None,
        "cluster_position_embedding": paca["cluster_pos_embed"],
        "layer_scale": options.get("layer_scale"),
        "post_norm": options.get("post_norm", False),
        "sub_norm": options.get("sub_ln", False),
        "position_embedding_size": (options["img_size"] if options.get("with_pos_embed") else None),
        "classes": options["num_classes"],
    }


def load(model, checkpoint):
    """Load a case's stand-in checkpoint, strictly."""
    key_map = model.checkpoint_map(model.get_config())
    constant = [k for k in checkpoint if k.endswith(("num_batches_tracked", "blur_filter"))]
    load_official(model, checkpoint, key_map, "stand-in", unused=constant)


def images(shape, seed):
    """Return a case's images, channels last."""
    return np.ascontiguousarray(recipe.image(shape, seed).transpose(0, 2, 3, 1))


def relative_error(found, expected):
    """Return |found - expected| / |expected|, Euclidean."""
    found, expected = np.asarray(found, "float64"), np.asarray(expected, "float64")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def errors(name):
    """Yield (array, relative error, bar) of all that a case holds."""
    description, checkpoint, expected = case(name)
    model = build(name, description)
    load(model, checkpoint)
    errors = forward_errors(model, description, expected)
    errors |= gradient_errors(model, description, expected)
    teacher = model.get_config()["clustering"] == "teacher"
    for array, error in errors.items():
        yield array, error, _bar(array, teacher)


def _bar(array, teacher):
    if keras.config.floatx() == "float64":
        return FLOAT64_BAR
    if not teacher or array.startswith("logits"):
        return BAR
    return {"grad_norm": TEACHER_NORM_BAR, "grad_dot": TEACHER_DOT_BAR}.get(array, TEACHER_BAR)


def forward_errors(model, description, expected):
    """Return {array of the case: relative error} of logits, features and assignments."""
    wanted = {"logits": model.output}
    for stage, level in enumerate(model.stage_names, start=1):
        wanted[f"stage{stage}"] = model.pyramid_outputs[level]
        if level in model.assignments:
            wanted[f"assignment{stage}"] = model.assignments[level][0]
            wanted[f"assignment{stage}_last"] = model.assignments[level][-1]
    probe = keras.Model(model.input, wanted)
    errors, outputs = {}, {}
    for key, array in expected.items():
        name, _, size = key.rpartition("_")
        if key.startswith("grad"):
            continue
        height, width = (int(side) for side in size.split("x"))
        batch = array.shape[0]
        if (batch, height, width) not in outputs:
            x = images((batch, 3, height, width), description["seed"])
            outputs[batch, height, width] = probe.predict_on_batch(x)
        found = outputs[batch, height, width][name]
        if name.startswith("stage"):
            found = found.reshape(found.shape[0], -1, found.shape[-1])
        elif name.startswith("assignment"):
            found = found.transpose(0, 2, 1)  # the official one is (b, clusters, patches)
        errors[key] = relative_error(found, array)
    return errors


def gradient_errors(model, description, expected, size=(96, 128), key_map=None):
    """Return {"grad_norm", "grad_dot": relative error} of the case's loss."""
    x = images((2, 3, *size), description["seed"] + 1)
    direction = np.random.RandomState(77).standard_normal((2, model.output.shape[-1]))
    gradients = loss_gradients(model, x, direction.astype("float32"))
    key_map = key_map or model.checkpoint_map(model.get_config())
    norms, dots = [], []
    for key in description["gradient_order"]:
        entry = key_map[key]
        gradient = entry.join(gradients).astype("float64").ravel()
        norms.append(np.linalg.norm(gradient))
        along = recipe.fill("direction." + key, (gradient.size, 1)).ravel().astype("float64")
        dots.append(gradient @ along)
    return {
        "grad_norm": relative_error(norms, expected["grad_norm"]),
        "grad_dot": relative_error(dots, expected["grad_dot"]),
    }


def loss_gradients(model, x, direction):
    """Return {path: gradient} of sum(logits * direction), in inference mode."""
    variables = model_variables(model)
    trainable = {p: v for p, v in variables.items() if v.trainable}
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=False) * direction)
        values = tape.gradient(loss, [v.value for v in trainable.values()])
    elif backend == "torch":
        model.zero_grad()
        loss = (model(x, training=False) * keras.ops.convert_to_tensor(direction)).sum()
        loss.backward()
        values = [v.value.grad for v in trainable.values()]
    else:
        import jax

        names = {id(v): p for p, v in trainable.items()}
        fixed = [v.value for v in model.non_trainable_variables]

        def loss_of(weights):
            outputs, _ = model.stateless_call(weights, fixed, x, training=False)
            return (outputs * direction).sum()

        weights = [v.value for v in model.trainable_variables]
        found = jax.jit(jax.grad(loss_of))(weights)
        by_path = {names[id(v)]: g for v, g in zip(model.trainable_variables, found, strict=True)}
        values = [by_path[p] for p in trainable]
    return {
        p: keras.ops.convert_to_numpy(g).reshape(v.shape)
        for (p, v), g in zip(trainable.items(), values, strict=True)
    }
