"""One contender of a benchmark, in a process of its own: it runs a step for each line it reads.

    python benchmarks/contender.py '{"model": "paca_small", "task": "forward", "size": [224, 224]}'

It answers each line with a line of JSON: {"ms": time of the step, "memory": peak memory in bytes
since before the first step}. The first answer, without being asked, is of the first step, which
compiles. The backend is that of KERAS_BACKEND; `bars.py` and others drive it.
"""

import gc
import json
import sys
import time

import numpy as np

DEFAULTS = {
    "model": "paca_small",
    "task": "forward",  # "forward", "step" (forward, backward, AdamW) or "fit" (two such steps)
    "size": [224, 224],
    "batch": 8,
    "dtype": "float32",
    "clusters": None,
    "jit": "auto",
    "plain": False,  # with the backend's own depthwise convolution, as a plain port has it
}


def keras_contender(options):
    """Return (function that runs a step, number of parameters) of a model of ours."""
    import keras

    import keras_paca
    from keras_paca.layers import depthwise

    if options["plain"]:
        depthwise.depthwise_conv2d = lambda inputs, kernel: keras.ops.depthwise_conv(
            inputs, kernel, padding="same", data_format="channels_last"
        )
    model = keras_paca.PaCaSmall(
        weights=None,
        input_shape=(*options["size"], 3),
        classifier_activation=None,
        clusters=options["clusters"],
        dtype=options["dtype"],
    )
    steps = 2 if options["task"] == "fit" else 1
    images, labels = data(options, steps)
    if options["task"] == "forward":
        model.compile(jit_compile=options["jit"])
        return lambda: model.predict_on_batch(images), model.count_params()
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


def torch_contender(options):
    """Return the same of PVTv2-B2 in PyTorch, eager, the nearest model in accuracy and size."""
    import torch
    import transformers

    config = transformers.PvtV2Config(
        depths=[3, 4, 6, 3],
        hidden_sizes=[64, 128, 320, 512],
        num_attention_heads=[1, 2, 5, 8],
        mlp_ratios=[8, 8, 4, 4],
        num_labels=1000,
        drop_path_rate=0.1,
    )
    model = transformers.PvtV2ForImageClassification(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    images, labels = data(options, 1)
    images = torch.from_numpy(images / 255).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(labels)
    cast = torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in options["dtype"])
    if options["task"] == "forward":
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
    """Return images in 0..255 and labels."""
    count = options["batch"] * steps
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 255, (count, *options["size"], 3)).astype("float32")
    return images, np.arange(count) % 1000


def status(key):
    """Return a line of the process's status, such as VmRSS or VmHWM, in bytes."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def main():
    """Build, then answer."""
    options = {**DEFAULTS, **json.loads(sys.argv[1])}
    build = torch_contender if options["model"] == "pvt_v2_b2" else keras_contender
    run, parameters = build(options)
    gc.collect()
    before = status("VmRSS")
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print
    while True:
        start = time.perf_counter()
        run()
        milliseconds = 1000 * (time.perf_counter() - start)
        steps = 2 if options["task"] == "fit" else 1
        answer = {"ms": milliseconds / steps, "memory": status("VmHWM") - before}
        print(json.dumps({**answer, "parameters": parameters}), file=answers, flush=True)
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    main()
