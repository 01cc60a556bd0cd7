"""One contender of a benchmark, in a process of its own: it runs a step for each line it reads.

    python benchmarks/contender.py '{"model": "paca_small", "task": "forward", "size": [224, 224]}'

Its first line of JSON, without being asked, is of the first step, which compiles; each line that
it then reads it answers with another: {"ms": time of the step, "memory": peak memory in bytes
since before the first step, "parameters": their number, "device"}. Where the backend computes on a
GPU, the memory is the GPU's. With the task "count" it says what the model costs, {"parameters",
"macs", "activations"}, and ends. The backend is that of KERAS_BACKEND; `bars.py`, `castling.py` and
`table.py` drive it.
"""

import gc
import json
import os
import sys
import time

import numpy as np
from turns import hardware

DEFAULTS = {
    "model": "paca_small",
    "task": "forward",  # `predict`; "call", compiled; "step" (forward, backward, AdamW); "fit", two
    "size": [224, 224],
    "batch": 8,
    "dtype": "float32",
    "clusters": None,
    "remat": False,
    "jit": "auto",
    "heads": 3,  # of one attention layer
    "auxiliary": False,  # whether it has it in training
    "plain": False,  # with the backend's own depthwise convolution, as a plain port has it
}


# --- Models ----------------------------------------------------------------------------------


def paca(options):
    """Return a PaCa-ViT of ours."""
    import keras

    import keras_paca
    from keras_paca import ops

    if options["plain"]:
        ops.depthwise_conv2d = lambda inputs, kernel, bias=None, shortcut=False: (
            keras.ops.depthwise_conv(inputs, kernel, padding="same", data_format="channels_last")
            + (0 if bias is None else bias)
            + (inputs if shortcut else 0)
        )
    name = options["model"].removeprefix("paca_")
    return getattr(keras_paca, f"PaCa{name.title()}")(
        weights=None,
        input_shape=(*options["size"], 3),
        classifier_activation=None,
        clusters=options["clusters"],
        remat=options["remat"],
        dtype=options["dtype"],
    )


def classifier(backbone):
    """Return a model that classifies what a backbone sees."""
    import keras

    x = backbone.output
    if len(x.shape) == 3:  # patches (b, n, c)
        x = keras.layers.GlobalAveragePooling1D(data_format="channels_last")(x)
    else:
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    return keras.Model(backbone.input, keras.layers.Dense(1000, dtype="float32")(x))


def mit_b2_keras_hub(options):
    """Return KerasHub's MiT-B2."""
    from keras_hub.models import MiTBackbone

    return classifier(
        MiTBackbone(
            layerwise_depths=[3, 4, 6, 3],
            num_layers=4,
            layerwise_num_heads=[1, 2, 5, 8],
            layerwise_sr_ratios=[8, 4, 2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3, 3, 3],
            layerwise_strides=[4, 2, 2, 2],
            image_shape=(*options["size"], 3),
            hidden_dims=[64, 128, 320, 512],
            dtype=options["dtype"],
        )
    )


def swin_t_keras_hub(options):
    """Return KerasHub's Swin-T."""
    from keras_hub.models import SwinTransformerBackbone

    return classifier(
        SwinTransformerBackbone(
            image_shape=(*options["size"], 3),
            embed_dim=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
            dtype=options["dtype"],
        )
    )


def convnext_tiny(options):
    """Return ConvNeXt-Tiny of `keras.applications`."""
    import keras

    keras.config.set_dtype_policy(options["dtype"])
    return keras.applications.ConvNeXtTiny(
        weights=None, input_shape=(*options["size"], 3), classifier_activation=None
    )


def pvt_v2_b2(options):
    """Return PVTv2-B2 in PyTorch, the nearest model in accuracy and size."""
    import transformers

    config = transformers.PvtV2Config(
        depths=[3, 4, 6, 3],
        hidden_sizes=[64, 128, 320, 512],
        num_attention_heads=[1, 2, 5, 8],
        mlp_ratios=[8, 8, 4, 4],
        num_labels=1000,
        drop_path_rate=0.1,
    )
    return transformers.PvtV2ForImageClassification(config)


def swin_t(options):
    """Return Swin-T in PyTorch."""
    import transformers

    return transformers.SwinForImageClassification(
        transformers.SwinConfig(image_size=options["size"], num_labels=1000)
    )


def mask_rcnn(options):
    """Return Mask R-CNN on PaCa-Small."""
    from keras_paca import detection

    return detection.PaCaSmallMaskRCNN(
        weights=None,
        input_shape=(*options["size"], 3),
        remat=options["remat"],
        dtype=options["dtype"],
    )


def attention(options):
    """Return one attention layer on tokens, "size" of them with so many channels."""
    import keras

    from keras_paca import layers

    tokens, channels = options["size"]
    inputs, heads = keras.Input((tokens, channels)), options["heads"]
    if options["model"] == "softmax_attention":
        layer = keras.layers.MultiHeadAttention(heads, channels // heads)
        return keras.Model(inputs, layer(inputs, inputs))
    layer = layers.LinearAngularAttention(heads, qkv_bias=True, auxiliary=options["auxiliary"])
    return keras.Model(inputs, layer(inputs))


LAYERS = ("softmax_attention", "angular_attention")
KERAS = {
    **dict.fromkeys(LAYERS, attention),
    "mask_rcnn": mask_rcnn,
    "paca_tiny": paca,
    "paca_small": paca,
    "paca_base": paca,
    "mit_b2_keras_hub": mit_b2_keras_hub,
    "swin_t_keras_hub": swin_t_keras_hub,
    "convnext_tiny": convnext_tiny,
}
TORCH = {"pvt_v2_b2": pvt_v2_b2, "swin_t": swin_t}


# --- Tasks -----------------------------------------------------------------------------------


def keras_task(options):
    """Return (function that runs a step, number of parameters) of a Keras model."""
    import keras

    model = KERAS[options["model"]](options)
    steps = 2 if options["task"] == "fit" else 1
    images, labels = data(options, steps)
    if options["task"] == "call":
        return compiled_call(model, images), model.count_params()
    if options["task"] == "forward":
        model.compile(jit_compile=options["jit"])
        return lambda: model.predict_on_batch(images), model.count_params()
    if options["model"] in LAYERS:
        labels = np.zeros_like(images)
        model.compile("sgd", "mse", jit_compile=options["jit"])
    elif options["model"] == "mask_rcnn":  # which has its own losses
        labels = objects(options)
        model.compile(jit_compile=options["jit"])
    else:
        model.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=0.05),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=options["jit"],
        )
    if options["task"] == "step":
        return lambda: model.train_on_batch(images, labels), model.count_params()
    batch = options["batch"]
    fit = lambda: model.fit(images, labels, batch_size=batch, shuffle=False, verbose=0)  # noqa: E731
    return fit, model.count_params()


def compiled_call(model, images):
    """Return a function that runs the model without Keras's loop around it."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call = tf.function(lambda x: model(x, training=False))
        x = tf.constant(images)
        return lambda: call(x).numpy()
    if keras.backend.backend() == "jax":
        import jax

        values = [
            [w.value for w in group]
            for group in (model.trainable_variables, model.non_trainable_variables)
        ]
        call = jax.jit(lambda values, x: model.stateless_call(*values, x, training=False)[0])
        x = jax.numpy.asarray(images)
        return lambda: np.asarray(call(values, x))
    import torch

    x = keras.ops.convert_to_tensor(images)  # on the device

    def run():
        with torch.no_grad():
            return model(x, training=False).cpu().numpy()

    return run


def torch_task(options):
    """Return the same of a model in plain PyTorch, eager."""
    import torch

    model = TORCH[options["model"]](options)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    images, labels = data(options, 1)
    images = torch.from_numpy(images / 255).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(labels)
    cast = torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in options["dtype"])
    if options["task"] in ("forward", "call"):
        model.eval()

        def forward():
            with torch.no_grad(), cast:
                return model(images).logits.float().numpy()

        return forward, parameters
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    model.train()

    def step():
        optimizer.zero_grad()
        with cast:
            loss = torch.nn.functional.cross_entropy(model(images).logits, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, parameters


def data(options, steps):
    """Return images in 0..255 and labels, or the tokens of a layer."""
    count = options["batch"] * steps
    draw = np.random.default_rng(0)
    if options["model"] in LAYERS:
        return draw.normal(size=(count, *options["size"])).astype("float32"), None
    images = draw.uniform(0, 255, (count, *options["size"], 3)).astype("float32")
    return images, np.arange(count) % 1000


def objects(options, number=12):
    """Return rectangles of 20 to 400 pixels as a detector's ground truth."""
    draw = np.random.default_rng(0)
    sides = draw.uniform(20, 400, (options["batch"], number, 2))
    corners = draw.uniform(0, np.array(options["size"][::-1]) - 20, sides.shape)
    boxes = np.concatenate([corners, np.minimum(corners + sides, options["size"][::-1])], axis=-1)
    masks = np.zeros((options["batch"], number, *options["size"]), "uint8")
    for mask, box in zip(masks.reshape(-1, *options["size"]), boxes.reshape(-1, 4), strict=True):
        left, top, right, bottom = box.astype(int)
        mask[top:bottom, left:right] = 1
    labels = draw.integers(0, 80, sides.shape[:2])
    return {"boxes": boxes.astype("float32"), "labels": labels.astype("int32"), "masks": masks}


def count(options):
    """Return what a model costs for an image; Keras models need KERAS_BACKEND=torch."""
    from macs import count_costs

    task = keras_task if options["model"] in KERAS else torch_task
    run, parameters = task({**options, "batch": 1, "task": "call"})
    run()
    macs, activations = count_costs(run)
    return {"parameters": parameters, "macs": macs, "activations": activations}


# --- Memory, and the loop ----------------------------------------------------------------------


def status(key):
    """Return a line of the process's status, such as VmRSS or VmHWM, in bytes."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def memory(key):
    """Return what the GPU holds at most until now, or a line of the process's status, in bytes."""
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        if jax.local_devices()[0].platform != "cpu":
            return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
    elif os.environ["KERAS_BACKEND"] == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    return status(key)


def main():
    """Build, then answer."""
    options = {**DEFAULTS, **json.loads(sys.argv[1])}
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print
    if options["task"] == "count":
        print(json.dumps(count(options)), file=answers, flush=True)
        return
    task = keras_task if options["model"] in KERAS else torch_task
    run, parameters = task(options)
    gc.collect()
    device, before = hardware(os.environ["KERAS_BACKEND"]), memory("VmRSS")
    about = {"parameters": parameters, "device": device}
    while True:
        start = time.perf_counter()
        run()
        milliseconds = 1000 * (time.perf_counter() - start)
        steps = 2 if options["task"] == "fit" else 1
        answer = {"ms": milliseconds / steps, "memory": memory("VmHWM") - before}
        print(json.dumps({**answer, **about}), file=answers, flush=True)
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    main()
