"""Speed, memory and cost of our models beside others', and how they grow with the image.

    make table        or        python benchmarks/table.py [SETTING ...]

A setting is TASK-SIZE-BATCH-DTYPE, such as forward-224-8-float32 or step-512x1024-1-bfloat16, or
"scaling". In each its contenders take turns. benchmarks/table.csv has timm's columns; the rows of a
setting that is measured again are replaced. benchmarks/table.png and scaling.png show it. It takes
hours on two cores; a setting alone takes less.
"""

import sys

from turns import (
    BACKENDS,
    ROOT,
    Contender,
    describe,
    read_rows,
    take_turns,
    touch_memory,
    write_rows,
)

FIELDS = (
    "model", "backend", "task", "dtype", "img_size", "batch_size", "samples_per_sec",
    "step_time", "param_count", "gmacs", "macts", "peak_memory_mb", "compile_time",
    "commit", "processor", "versions",
)  # fmt: skip
PATH = ROOT / "benchmarks" / "table.csv"
MODELS = {  # model: backends
    "paca_small": BACKENDS,
    "mit_b2_keras_hub": ("torch",),
    "swin_t_keras_hub": ("torch",),
    "convnext_tiny": ("torch",),
    "pvt_v2_b2": ("torch",),
    "swin_t": ("torch",),
}
SETTINGS = [
    f"{task}-{size}-{batch}-{dtype}"
    for dtype in ("float32", "bfloat16")
    for task in ("forward", "call", "step")
    for size in ("224", "384", "512x1024")
    for batch in (1, 8)
]
SIDES = (224, 320, 448, 640, 896, 1024)
LARGEST_PLAIN = 640  # the attention weights of plain attention at 896 would take 25 GB
ROUNDS = 5


def sides(size):
    """Return (height, width) of a size such as "224" or "512x1024"."""
    height, _, width = size.partition("x")
    return [int(height), int(width or height)]


def measure(contenders, costs):
    """Let {(model, backend): options} take turns; yield their rows."""
    named = {" ".join(key): options for key, options in contenders.items()}
    found = take_turns(named, ROUNDS, lambda *answer: None)
    for (model, backend), options in contenders.items():
        answer = found[f"{model} {backend}"]
        height, width = options["size"]
        macs, activations = cost(options, costs)
        yield {
            "model": model,
            "backend": backend,
            "task": options["task"],
            "dtype": options["dtype"].removeprefix("mixed_"),
            "img_size": str(height) if height == width else f"{height}x{width}",
            "batch_size": options["batch"],
            "samples_per_sec": f"{1000 * options['batch'] / answer['ms']:.2f}",
            "step_time": f"{answer['ms']:.1f}",
            "param_count": f"{answer['parameters'] / 1e6:.2f}",
            "gmacs": f"{macs / 1e9:.2f}",
            "macts": f"{activations / 1e6:.2f}",
            "peak_memory_mb": f"{answer['memory'] / 1e6:.0f}",
            "compile_time": f"{(answer['first'] - answer['ms']) / 1000:.1f}",
        }


def cost(options, costs):
    """Return (multiply-accumulates, activations) for an image, counted once."""
    given = {name: options.get(name) for name in ("model", "size", "clusters")}
    key = str(given)
    if key not in costs:
        counter = Contender("torch", **given, task="count")
        answer = counter.answer()
        counter.close()
        costs[key] = answer["macs"], answer["activations"]
    return costs[key]


def setting_rows(setting, costs):
    """Yield the rows of a setting."""
    task, size, batch, dtype = setting.split("-")
    options = {"task": task, "size": sides(size), "batch": int(batch)}
    options["dtype"] = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    contenders = {
        (model, backend): {**options, "model": model, "backend": backend}
        for model, backends in MODELS.items()
        for backend in backends
        # Swin's windows of 7 x 7 fit neither 384 nor 512 x 1024 in KerasHub
        if (model, size) != ("swin_t_keras_hub", "512x1024")
    }
    yield from measure(contenders, costs)


def scaling_rows(costs):
    """Yield the rows of the scaling study, an image at a time, with clusters and without."""
    for backend in BACKENDS:
        for side in SIDES:
            options = {"backend": backend, "task": "forward", "size": [side, side], "batch": 1}
            options |= {"model": "paca_small", "dtype": "float32"}
            contenders = {("paca_small", backend): options}
            if side <= LARGEST_PLAIN:
                contenders["paca_small clusters=0", backend] = {**options, "clusters": 0}
            for row in measure(contenders, costs):
                yield {**row, "task": "scaling"}


def plot(rows):
    """Draw table.png and scaling.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    studies = {}
    for row in rows:
        if row["task"] != "scaling":
            name = "{task} {img_size}, batch {batch_size}, {dtype}".format(**row)
            studies.setdefault(name, []).append(row)
    if studies:
        figure, axes = pyplot.subplots(
            len(studies), 1, figsize=(8, 2.6 * len(studies)), squeeze=False
        )
        for axis, (name, found) in zip(axes[:, 0], studies.items(), strict=True):
            found = sorted(found, key=lambda row: float(row["samples_per_sec"]))
            labels = [f"{row['model']}, {row['backend']}" for row in found]
            colours = ["C0" if row["model"].startswith("paca") else "C7" for row in found]
            bars = axis.barh(labels, [float(r["samples_per_sec"]) for r in found], color=colours)
            axis.bar_label(bars, fmt="%.1f")
            axis.set_title(name)
            axis.set_xlabel("images per second")
        figure.tight_layout()
        figure.savefig(PATH.with_name("table.png"), dpi=100)
    scaling = [row for row in rows if row["task"] == "scaling"]
    if scaling:
        figure, (time, memory) = pyplot.subplots(1, 2, figsize=(11, 4.5))
        for model, style in (("paca_small", "o-"), ("paca_small clusters=0", "s--")):
            for number, backend in enumerate(BACKENDS):
                found = [r for r in scaling if (r["model"], r["backend"]) == (model, backend)]
                found.sort(key=lambda row: int(row["img_size"]))
                x = [(int(row["img_size"]) // 4) ** 2 for row in found]
                look = {"color": f"C{number}", "label": f"{model}, {backend}"}
                time.loglog(x, [float(row["step_time"]) for row in found], style, **look)
                memory.loglog(x, [float(row["peak_memory_mb"]) for row in found], style, **look)
        time.set(xlabel="patches of the first stage", ylabel="ms per image")
        memory.set(xlabel="patches of the first stage", ylabel="peak memory, MB")
        time.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(PATH.with_name("scaling.png"), dpi=100)


def main(settings):
    """Measure the settings, write the table and draw the plots."""
    unknown = set(settings) - set(SETTINGS) - {"scaling", "plot"}
    if unknown:
        raise SystemExit(f"No such settings: {sorted(unknown)}. There are {SETTINGS}, scaling")
    about = dict(zip(("commit", "processor", "versions"), describe(), strict=True))
    rows, costs = read_rows(PATH), {}
    if settings != ["plot"]:
        touch_memory()
    for setting in settings:
        if setting == "plot":
            continue
        measured = scaling_rows(costs) if setting == "scaling" else setting_rows(setting, costs)
        for row in measured:
            print("{model:24} {backend:11} {task:8} {img_size:9} {batch_size} {dtype:9} "
                  "{step_time:>9} ms {samples_per_sec:>8} images/s {peak_memory_mb:>6} MB"
                  .format(**row), flush=True)  # fmt: skip
            identity = FIELDS[:6]
            rows = [old for old in rows if any(old[f] != str(row[f]) for f in identity)]
            rows.append(row | about)
        write_rows(PATH, FIELDS, rows)
    plot(rows)


if __name__ == "__main__":
    main(sys.argv[1:] or [*SETTINGS, "scaling"])
