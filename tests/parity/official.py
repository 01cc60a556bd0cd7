"""The parity cases: how each is built, run and compared."""

from pathlib import Path

import keras
import numpy as np

from keras_paca.backbones import RapidNet, paca_vit
from keras_paca.inference import fuse
from keras_paca.weights import load_official, model_variables
from tests.parity import recipe

CASES = Path(__file__).parent / "cases"
SMALL = (
    *("tiny_options_a", "tiny_options_b", "tiny_linear_blockwise", "pacavit_tiny_p2cconv_100_0"),
    *("RapidNet_Ti", "RapidNet_Ti_reparam"),
)
LARGE = (
    "pacavit_small_p2cconv_100_0",
    "pacavit_small_p2cconv_100_blockwise",
    "pacavit_small_p2cmlp_100_0",
    "pacavit_convmixer_small_100",
    "RapidNet_M",
)
BAR = 5e-6  # relative error of logits, features, assignments and gradients in float32
TEACHER_NORM_BAR, TEACHER_DOT_BAR = 1e-4, 3e-4  # gradients through its batch norms
# The teacher's stand-in weights make logits of up to 4,000, and its softmaxes carry what float32
# lost before them: the official operations in float32 are 5e-5 off their own float64 there. In
# float64 all agree to the bar below.
TEACHER_BAR = 1e-4
RAPIDNET_DOT_BAR = 1e-5  # the official code in float32: 1.7e-6 to 3.6e-6
FLOAT64_BAR = 1e-7  # the cases are stored in float32
CLUSTERINGS = {"P2CConv2d": "conv", "P2CMlp": "mlp", "P2CLinear": "linear"}


def case(name):
    """Return (description, stand-in checkpoint, expected arrays)."""
    return recipe.case(CASES / name)


def build(name, description, **options):
    """Return the model of a case, without weights, from normalised images to logits."""
    options = {"include_preprocessing": False, "classifier_activation": None, **options}
    if name.startswith("RapidNet"):
        size = RapidNet.variants["_".join(name.lower().split("_")[:2])]
        return RapidNet(**{**size.config, "drop_path_rate": 0.0, **options})
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
    if "gradient_order" in description:
        errors |= gradient_errors(model, description, expected)
    if "statistics_order" in description:
        fused = forward_errors(fuse(model), description, expected)
        errors |= {f"fused_{array}": error for array, error in fused.items()}
        errors |= training_errors(model, description, expected)  # changes the statistics
    for array, error in errors.items():
        yield array, error, _bar(array, model)


def _bar(array, model):
    if keras.config.floatx() == "float64":
        return FLOAT64_BAR
    if isinstance(model, RapidNet):
        return RAPIDNET_DOT_BAR if array == "grad_dot" else BAR
    if model.get_config()["clustering"] != "teacher" or array.startswith("logits"):
        return BAR
    return {"grad_norm": TEACHER_NORM_BAR, "grad_dot": TEACHER_DOT_BAR}.get(array, TEACHER_BAR)


def forward_errors(model, description, expected):
    """Return {array of the case: relative error} of logits, features and assignments."""
    wanted = {"logits": model.output}
    if len(model.outputs) > 1:  # of several classifiers, and their mean
        heads = model.classifiers(model.get_config())
        wanted |= {key: model.get_layer(layer).output for key, layer in heads.items()}
    for stage, level in enumerate(model.stage_names, start=1):
        wanted[f"stage{stage}"] = model.pyramid_outputs[level]
        if level in model.assignments:
            wanted[f"assignment{stage}"] = model.assignments[level][0]
            wanted[f"assignment{stage}_last"] = model.assignments[level][-1]
    probe = keras.Model(model.input, wanted)
    errors, outputs = {}, {}
    for key, array in expected.items():
        name, _, size = key.rpartition("_")
        if key.startswith(("grad", "running")) or name.endswith("training"):
            continue
        height, width = (int(side) for side in size.split("x"))
        batch = array.shape[0]
        if (batch, height, width) not in outputs:
            x = images((batch, 3, height, width), description["seed"])
            outputs[batch, height, width] = probe.predict_on_batch(x)
        found = outputs[batch, height, width][name]
        if name.startswith("stage"):
            found = found.reshape(array.shape)
        elif name.startswith("assignment"):
            found = found.transpose(0, 2, 1)  # the official one is (b, clusters, patches)
        errors[key] = relative_error(found, array)
    return errors


def gradient_errors(model, description, expected, size=(96, 128), key_map=None):
    """Return {"grad_norm", "grad_dot": relative error} of the case's loss."""
    x = images((2, 3, *size), description["seed"] + 1)
    logits_shape = model.compute_output_shape(x.shape)
    direction = np.random.RandomState(77).standard_normal(logits_shape)
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


def training_errors(model, description, expected):
    """Return {array of the case: relative error} of one step's outputs and batch statistics."""
    prefixes = {"head": "head_training", "dist_head": "dist_training"}
    errors = {}
    for official, layer in model.classifiers(model.get_config()).items():
        (key,) = (key for key in expected if key.startswith(prefixes[official]))
        height, width = (int(side) for side in key.rpartition("_")[2].split("x"))
        if not errors:
            shape = (len(expected[key]), 3, height, width)
            outputs = training_outputs(model, images(shape, description["seed"]))
        errors[key] = relative_error(outputs[layer], expected[key])
    key_map, variables = model.checkpoint_map(model.get_config()), model_variables(model)
    for name in ("running_mean", "running_var"):
        entries = [key_map[f"{norm}.{name}"] for norm in description["statistics_order"]]
        found = [keras.ops.convert_to_numpy(variables[entry.path]) for entry in entries]
        key = f"{name}_after"
        errors[key] = relative_error(np.concatenate(found), expected[key])
    return errors


def training_outputs(model, x):
    """Return the outputs in training mode, and update the statistics."""
    if keras.backend.backend() != "jax":
        outputs = model(x, training=True)
    else:
        import jax

        step = jax.jit(lambda *state: model.stateless_call(*state, x, training=True))
        both = (model.trainable_variables, model.non_trainable_variables)
        state = [[v.value for v in variables] for variables in both]
        outputs, fixed = step(*state)
        for variable, value in zip(model.non_trainable_variables, fixed, strict=True):
            variable.assign(value)
    return {name: keras.ops.convert_to_numpy(y) for name, y in outputs.items()}


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
