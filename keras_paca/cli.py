"""The `keras-paca` command: a thin face on the library."""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FRESH = r"(?s).*keeps? its initial values"  # a warning of the strict loader


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 after an error, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("keras-paca: interrupted", file=sys.stderr)
        return 130
    except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        if os.environ.get("KERAS_PACA_TRACEBACK"):
            raise
        print(f"keras-paca: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


# --- Commands -------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> None:
    from keras_paca.demo import run_demo

    run_demo(options.output)


def _predict(options: argparse.Namespace) -> None:
    import numpy as np

    from keras_paca.preprocessing import imagenet_classes, load_image

    images = [load_image(path) for path in options.images]
    model, classes = _open_model(options)
    for path, image in zip(options.images, images, strict=True):
        scores = np.asarray(model.predict(_transform(image, model, options)[None], verbose=0))[0]
        names = classes or [name for _, name in imagenet_classes()]
        if len(names) != len(scores):
            names = [f"class {index}" for index in range(len(scores))]
        print(path)
        for index in np.argsort(-scores, kind="stable")[: options.top]:
            print(f"  {scores[index]:7.2%}  {names[index]}")


def _explain(options: argparse.Namespace) -> None:
    from keras_paca.explain import cluster_maps, cluster_statistics, plot_cluster_maps
    from keras_paca.preprocessing import load_image

    image = load_image(options.image)
    model, _ = _open_model(options)
    image = _transform(image, model, options)
    maps = cluster_maps(model, image[None])
    for level, values in cluster_statistics(maps).items():
        print(
            f"{level}: mean cosine between clusters {values['cosine']:.3f}, "
            f"{values['winners']:.0f} of {maps[level].shape[-1]} win patches"
        )
    plot_cluster_maps(image, maps, top=options.top, path=options.output)
    print(f"cluster maps in {options.output}")


def _train(options: argparse.Namespace) -> None:
    from keras_paca.train import ImageFolder, find_images, fine_tune, split_files

    files, classes = find_images(options.folder)
    training, validation = split_files(files, options.validation_split, options.seed)
    print(f"{len(training)} images to learn from, {len(validation)} to validate: {classes}")

    output = Path(options.output)
    settings = {
        key: str(value)
        for key, value in vars(options).items()
        if key not in ("run", "output", "command", "folder")
    }
    side = options.image_size or 224
    settings |= {"folder": str(Path(options.folder).resolve()), "classes": classes}
    settings["image_size"] = side  # which `predict` reads
    kept = output / "settings.json"
    if kept.exists() and _read_settings(kept) != settings:
        raise ValueError(
            f"{output} holds a run with other settings ({kept}). Choose another --output, or the "
            "same settings to go on with it."
        )
    import keras

    keras.utils.set_random_seed(options.seed)
    model = _build(options, classes=len(classes), drop_path_rate=options.drop_path_rate)
    output.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (output / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    common = {
        "classes": len(classes),
        "image_size": side,
        "batch_size": options.batch_size,
        "seed": options.seed,
    }
    best = fine_tune(
        model,
        ImageFolder(training, training=True, **common),
        ImageFolder(validation, **common),
        output,
        head_epochs=options.head_epochs,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
    )
    print(f"best validation accuracy {best:.2%}, model in {output / 'best.keras'}")


def _evaluate(options: argparse.Namespace) -> None:
    from keras_paca.detection import evaluate_coco, read_coco

    dataset = read_coco(options.annotations, options.images, options.limit)
    model, _ = _open_model(options)

    def progress(done: int, count: int) -> None:
        if done % 100 == 0 or done == count:
            print(f"{done} of {count} images", file=sys.stderr)

    metrics = evaluate_coco(
        model,
        dataset,
        options.output,
        short_side=options.short_side,
        long_side=options.long_side,
        pad_to=options.pad_to,
        progress=progress,
    )
    for name, value in metrics.items():
        print(f"{name:16} {value:.4f}")
    if options.output:
        print(f"detections in {options.output}")


def _export(options: argparse.Namespace) -> None:
    from keras_paca.deploy import export

    target = Path(options.target)
    formats = {".tflite": "litert", ".onnx": "onnx", ".xml": "openvino"}
    model, _ = _open_model(options)
    export(
        model,
        target,
        options.format or formats.get(target.suffix, "tf_saved_model"),
        image_size=_image_size(options),
        batch_size=options.batch_size,
        quantize=options.quantize,
        representative_data=_representative_data(model, options),
        check=not options.no_check,
        fuse=not options.no_fuse,
    )


def _representative_data(model: Any, options: argparse.Namespace) -> Any:
    """Return up to a hundred images of a folder, at the file's size."""
    if options.representative is None:
        return None
    import numpy as np

    from keras_paca.preprocessing import evaluation_transform, load_image
    from keras_paca.train.image_folder import SUFFIXES

    folder = Path(options.representative)
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"No images in {folder}")
    size = _image_size(options) or model.input_shape[1:3]
    if None in size:
        raise ValueError("--representative needs --image-size for a model of any size.")
    files = files[:: -(-len(files) // 100)]
    return np.stack([evaluation_transform(load_image(file), size) for file in files])


def _image_size(options: argparse.Namespace) -> tuple[int, int] | None:
    size = options.image_size
    if size is None:
        return None
    if len(size) > 2:
        raise ValueError(f"--image-size takes a side, or height and width. Received: {size}")
    return (size[0], size[-1])


def _benchmark(options: argparse.Namespace) -> None:
    from keras_paca.deploy import benchmark

    model, _ = _open_model(options)
    benchmark(model, image_size=_image_size(options), batch_size=options.batch_size)


def _weights(options: argparse.Namespace) -> None:
    from keras_paca.weights import released_files, verify_cache

    if options.verify:
        found = verify_cache()
        for file, checksum, state in found:
            print(f"{file.file}  {state}  SHA-256 {checksum or 'unknown'}")
        if not found:
            print("no released file in the cache")
        if any(state == "changed" for _, _, state in found):
            raise ValueError("A file in the cache has changed. Delete it; the next use renews it.")
        return
    for file in released_files():
        measured = ", ".join(f"{name} {value}" for name, value in file.accuracy.items())
        print(f"{file.task:14} {file.variant:60} {measured:26} {file.file}")
        if file.note:
            print(f"{'':14} {file.note}")
    print(f"From {released_files()[0].url.rpartition('/')[0]}/FILE")
    print(f"Licence: {released_files()[0].licence}")


def _convert(options: argparse.Namespace) -> None:
    from keras_paca.backbones.paca_vit import convert

    convert(options.source, options.target)
    print(f"{options.source} -> {options.target}")


# --- What commands share --------------------------------------------------------------------


def _transform(image: Any, model: Any, options: argparse.Namespace) -> Any:
    from keras_paca.preprocessing import evaluation_transform

    fixed = model.input_shape[1:3]
    trained = Path(options.model).with_name("settings.json")  # beside what `train` made
    if options.image_size:
        size = options.image_size
    elif None not in fixed:
        size = fixed
    elif options.model.endswith(".keras"):
        size = _read_settings(trained).get("image_size", 224)
    else:
        size = 224
    return evaluation_transform(image, size).astype("float32")


def _read_settings(path: Path) -> dict:
    """Return what `train` wrote, nothing where the file is missing or somebody else's."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _open_model(options: argparse.Namespace) -> tuple[Any, list[str] | None]:
    """Return the model asked for, and its classes where a file beside it names them."""
    path = Path(options.model)
    if path.suffix != ".keras":
        with warnings.catch_warnings():
            warnings.filterwarnings("error", FRESH)
            try:
                return _build(options), None
            except UserWarning as warning:
                raise ValueError(f"Random weights would answer. {warning}") from None
    import keras

    if not path.exists():
        raise FileNotFoundError(f"No such model: {path}")
    names = path.with_name("classes.txt")
    classes = names.read_text(encoding="utf-8").splitlines() if names.exists() else None
    try:
        return keras.saving.load_model(path), classes
    except Exception as error:  # of every kind, by what is wrong with the file
        raise ValueError(f"{path} can't be loaded: {error}") from error


def _build(options: argparse.Namespace, **more: Any) -> Any:
    import keras_paca

    factories = {
        "tiny": keras_paca.PaCaTiny,
        "small": keras_paca.PaCaSmall,
        "base": keras_paca.PaCaBase,
    }
    if options.command == "evaluate":
        if options.weights == "imagenet":
            raise ValueError("--weights imagenet leaves a detector's heads random. Expected coco.")
        factories = {
            "tiny": keras_paca.detection.PaCaTinyMaskRCNN,
            "small": keras_paca.detection.PaCaSmallMaskRCNN,
            "base": keras_paca.detection.PaCaBaseMaskRCNN,
        }
    if options.model not in factories:
        file = "" if options.command == "train" else " or the path of a .keras file"
        raise ValueError(
            f"--model must be one of {list(factories)}{file}. Received: {options.model}"
        )
    return factories[options.model](
        weights=None if options.weights == "none" else options.weights,
        clustering=options.clustering,
        clusters=options.clusters,
        cluster_every=1 if options.blockwise else None,
        **more,
    )


def _from(least: int) -> Callable[[str], int]:
    """Return the type of an option that takes integers from `least`."""

    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more, not {value}")
        return value

    return integer


def _clusters(text: str) -> int | list[int]:
    """Return the numbers of "100" or "100,100,100,0"."""
    numbers = [int(number) for number in text.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers


def _model_options(weights: str, positional: bool = False) -> argparse.ArgumentParser:
    """Return the options of the model that a command opens, with the weights it has by default."""
    model = argparse.ArgumentParser(add_help=False)
    what = "tiny, small, base or the path of a .keras file"
    if positional:
        model.add_argument("model", metavar="MODEL", help=what)
    else:
        model.add_argument("--model", default="tiny", help=f"{what} (tiny)")
    model.add_argument("--clustering", default="conv", help="conv, mlp, linear or teacher (conv)")
    model.add_argument(
        "--clusters", type=_clusters, metavar="N,N,N,N", help="per stage, or one N for all"
    )
    model.add_argument(
        "--blockwise", action="store_true", help="clusters of its own in every block"
    )
    model.add_argument(
        "--weights", default=weights, metavar="W", help=f"{weights}, none or a file ({weights})"
    )
    return model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-paca",
        description="PaCa-ViT for Keras 3: try it, use it, train it, see its clusters.",
        epilog="KERAS_BACKEND=tensorflow, jax or torch chooses the backend.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    model = _model_options("imagenet")
    model.add_argument(
        "--image-size", type=_from(32), metavar="N", help="side in pixels (the model's, or 224)"
    )

    demo = commands.add_parser("demo", help="learn handwritten digits, predict, explain, export")
    demo.add_argument("--output", default="demo", metavar="DIR", help="folder for results (demo)")
    demo.set_defaults(run=_demo)

    predict = commands.add_parser("predict", parents=[model], help="classify images")
    predict.add_argument("images", nargs="+", metavar="IMAGE")
    predict.add_argument(
        "--top", type=_from(1), default=5, metavar="N", help="classes to print (5)"
    )
    predict.set_defaults(run=_predict)

    explain = commands.add_parser("explain", parents=[model], help="draw an image's clusters")
    explain.add_argument("image", metavar="IMAGE")
    explain.add_argument("--output", default="clusters.png", metavar="FILE", help="(clusters.png)")
    explain.add_argument(
        "--top", type=_from(1), default=6, metavar="N", help="clusters per level (6)"
    )
    explain.set_defaults(run=_explain)

    train = commands.add_parser(
        "train", parents=[model], help="fine-tune on a folder that has one folder per class"
    )
    train.add_argument("folder", metavar="FOLDER")
    train.add_argument("--output", default="run", metavar="DIR", help="folder for results (run)")
    train.add_argument("--head-epochs", type=_from(0), default=3, metavar="N", help="(3)")
    train.add_argument("--epochs", type=_from(1), default=15, metavar="N", help="(15)")
    train.add_argument("--batch-size", type=_from(1), default=32, metavar="N", help="(32)")
    train.add_argument("--learning-rate", type=float, default=2e-4, metavar="R", help="(2e-4)")
    train.add_argument("--drop-path-rate", type=float, metavar="R", help="(the variant's)")
    train.add_argument("--validation-split", type=float, default=0.2, metavar="S", help="(0.2)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser(
        "evaluate", parents=[_model_options("coco")], help="measure a detector on COCO"
    )
    evaluate.add_argument(
        "--annotations", required=True, metavar="FILE", help="such as instances_val2017.json"
    )
    evaluate.add_argument("--images", required=True, metavar="DIR", help="folder of its images")
    evaluate.add_argument("--limit", type=_from(1), metavar="N", help="the first N images (all)")
    evaluate.add_argument("--output", metavar="FILE", help="JSON file for the detections")
    evaluate.add_argument("--short-side", type=_from(32), default=800, metavar="N", help="(800)")
    evaluate.add_argument("--long-side", type=_from(32), default=1333, metavar="N", help="(1333)")
    evaluate.add_argument(
        "--pad-to",
        type=_from(32),
        metavar="N",
        help="one square for all images, compiled once (each to a multiple of 32)",
    )
    evaluate.set_defaults(run=_evaluate)

    deployed = _model_options("imagenet", positional=True)
    deployed.add_argument(
        "--image-size", type=_from(1), nargs="+", metavar="N", help="side, or height and width"
    )
    deployed.add_argument("--batch-size", type=_from(1), metavar="N", help="(any; LiteRT: 1)")

    export = commands.add_parser(
        "export",
        parents=[deployed],
        help="write SavedModel, LiteRT, ONNX, OpenVINO; check it",
    )
    export.add_argument("target", metavar="OUT", help="OUT.tflite, OUT.onnx, OUT.xml or a folder")
    export.add_argument(
        "--format", help="tf_saved_model, litert, onnx or openvino (by the suffix of OUT)"
    )
    export.add_argument("--quantize", help="for LiteRT: float16, dynamic or int8")
    export.add_argument(
        "--representative", metavar="DIR", help="folder of images for --quantize int8"
    )
    export.add_argument("--no-check", action="store_true", help="don't run the file")
    export.add_argument("--no-fuse", action="store_true", help="export the model as it is")
    export.set_defaults(run=_export)

    benchmark = commands.add_parser(
        "benchmark", parents=[deployed], help="latency, memory and size in each runtime"
    )
    benchmark.set_defaults(run=_benchmark)

    weights = commands.add_parser("weights", help="list the released weights")
    weights.add_argument(
        "--verify", action="store_true", help="check the downloaded ones against their SHA-256"
    )
    weights.set_defaults(run=_weights)

    convert = commands.add_parser("convert", help="convert a file of weights")
    convert.add_argument("source", metavar="IN", help=".pth, .safetensors, .weights.h5 or .keras")
    convert.add_argument("target", metavar="OUT", help=".safetensors, .weights.h5 or .keras")
    convert.set_defaults(run=_convert)
    return parser
