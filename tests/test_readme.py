"""What the README shows runs as it is printed, with small stand-ins for the released models."""

import re
import shlex
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage
from PIL import Image

import keras_paca
from keras_paca import create_model, train
from keras_paca.backbones import PaCaViT, registry
from keras_paca.backbones.convert import official_tensors
from keras_paca.weights import released_files
from keras_paca_cli import parse
from tests.dense_stand_ins import build, official_checkpoint
from tests.marks import slow_but_on_tensorflow, slow_but_on_torch
from tests.served import served
from tests.stand_ins import write_released

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [
    line
    for language, code in BLOCKS
    if language == "sh"
    for line in code.replace("\\\n", " ").splitlines()
]
OF_PLUGINS = ("keras_hub", "keras_cv", "keras_paca.hub")
OF_EXPORTS = ("keras_paca.export(",)
FILES = (  # the released ones that it names
    "IMNET_224_pacavit_tiny_p2cconv_100_0.pth",
    "IMNET_224_pacavit_small_p2cconv_100_0.pth",
    "pacahead_pacavit_small_p2cconv_100_0_512x512_160k_ade20k.pth",
    "mask_rcnn_pacavit_small_p2cconv_100_0_mstrain_480_800_1x_coco.pth",
    "RapidNet_Ti.pth",
)
OF_OTHERS = {
    "rapidnet_ti": {"hidden_dims": (8, 8, 16, 16), "embedding_dim": 16},
    "vittm_base": {"hidden_dim": 16, "num_heads": 2, "depth": 2},
    "castling_vit_tiny": {"hidden_dim": 16, "num_heads": 2, "depth": 2},
}
SMALL = {"hidden_dims": (16, 24, 32, 40), "num_heads": (1, 2, 2, 4), "depths": (1, 1, 1, 1)}


def blocks(*words):
    """Return the blocks of Python that have one of the words in them."""
    return [code for code in PYTHON if any(word in code for word in words)]


def run(codes, **names):
    """Run blocks of Python one after the other and return the names that they bind."""
    for code in codes:
        exec(compile(code, f"README.md, line {_line_of(code)}", "exec"), names)
    return names


def _line_of(code):
    return README[: README.index(code)].count("\n") + 1


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Make the released models small and serve them; leave the README's pictures in the folder."""
    monkeypatch.chdir(tmp_path)
    for size in ("tiny", "small"):
        for name, value in SMALL.items():
            monkeypatch.setitem(PaCaViT.variants[f"paca_{size}"].config, name, value)
    for name, config in OF_OTHERS.items():
        for option, value in config.items():
            monkeypatch.setitem(registry.variants()[name].config, option, value)
    (tmp_path / "mirror").mkdir()
    for file in released_files():
        if file.file in FILES:
            of_classes = file.task == "classification"
            name = f"{file.family.removesuffix('_vit')}_{file.size}"
            model = create_model(name, weights=None) if of_classes else build(file)
            tensors = (official_tensors if of_classes else official_checkpoint)(model)
            write_released(tmp_path / "mirror" / file.file, tensors)
    Image.fromarray(skimage.data.chelsea()).save("dog.jpg")
    for number, name in enumerate(("cat", "dog")):
        Path("photos", name).mkdir(parents=True)
        for i in range(4):
            picture = skimage.data.chelsea()[i * 10 :, number * 150 : number * 150 + 200]
            Image.fromarray(picture).save(Path("photos", name, f"{i}.jpg"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with served(tmp_path / "mirror") as url:
        monkeypatch.setenv("KERAS_PACA_WEIGHTS_URL", url)
        yield


@pytest.fixture
def data():
    """What the README's user has: masks and boxes for the one image."""
    masks = np.zeros((1, 2, 224, 224), "uint8")
    masks[:, 0, 20:90, 20:90] = masks[:, 1, 100:200, 50:220] = 1
    boxes = np.array([[[20, 20, 90, 90], [50, 100, 220, 200]]], "float32")
    labels = np.array([[0, 3]])
    objects = {"boxes": boxes, "labels": labels, "masks": masks}
    images = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    return {
        **{"boxes": boxes, "labels": labels, "new_images": images, "new_objects": objects},
        **{"targets": np.array([1]), "teacher_targets": np.array([2])},
    }


@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:.*the head keeps its initial values")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.usefixtures("stand_ins")
def test_python(data, monkeypatch):
    tune = train.fine_tune  # that it learns is test_train's matter
    monkeypatch.setattr(
        train,
        "fine_tune",
        lambda *args, **more: tune(*args, **{**more, "epochs": 1, "head_epochs": 1}),
    )
    others = [code for code in PYTHON if code not in blocks(*OF_PLUGINS, *OF_EXPORTS)]
    names = {}
    for code in others:
        if "masks" in code:
            is_detection = "objects" in code
            data["masks"] = data["new_objects"]["masks"][:, slice(None) if is_detection else 0]
        names = run([code], **{**names, **data})
    assert names["best"].class_names == ["cat", "dog"]
    assert names["result"].total == 2
    assert Path("clusters.png").exists()
    assert Path("s.png").exists()
    assert Path("d.png").exists()
    assert keras.saving.load_model("own.keras").num_classes == 5


@pytest.mark.slow
@slow_but_on_tensorflow
@pytest.mark.filterwarnings("ignore::UserWarning:tensorflow", "ignore::DeprecationWarning")
@pytest.mark.usefixtures("stand_ins")
def test_exports():
    pytest.importorskip("tensorflow")
    run([PYTHON[0], *blocks(*OF_EXPORTS)])
    assert {p.name for p in Path().iterdir()} > {
        "model.tflite",
        "small.tflite",
        "model.onnx",
        "model",
    }


def test_every_block_is_run():
    """By the tests above, or the one in tests/plugins."""
    assert len(PYTHON) > 8
    assert {language for language, _ in BLOCKS} == {"python", "sh", "bibtex"}
    assert blocks(*OF_PLUGINS)
    assert blocks(*OF_EXPORTS)


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("keras-paca")])
def test_commands(line):
    parse(shlex.split(line, comments=True)[1:])


def test_other_commands():
    """The names of targets and extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(makefile[: makefile.index("# --- Env")].replace("$(BACKENDS:%=", "").split())
    for line in SHELL:
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert f"{words[1]}:" in targets, line
        if words[:2] == ["pip", "install"] and words[2].startswith("."):
            named = re.search(r"\[(.*)\]", words[2])[1].split(",")
            assert set(named) <= set(extras), line
    table = re.findall(r"^\| (`[^|]*`) \| [^|]* \| [^|]* \|$", README, re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`([\w-]+)`", cell)}
    assert set(extras) - {"test"} <= named


def test_citation():
    content = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {keras_paca.__version__}\n" in content
