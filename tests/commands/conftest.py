import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

from keras_paca import cli
from keras_paca.detection import MaskRCNN
from keras_paca.segmentation import Segmenter, SemanticFPNHead
from tests.data import save_bright_and_dark


@pytest.fixture
def run(capsys):
    """Return a function that runs `keras-paca` and returns (status, stdout, stderr)."""

    def call(*arguments):
        status = cli.main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def photograph(tmp_path):
    """Return a function that saves a picture of noise and returns its path."""

    def save(name, size=(40, 60), seed=0, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")
        Image.fromarray(pixels).save(path, **options)
        return path

    return save


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two classes, bright and dark, six pictures each."""
    return save_bright_and_dark(tmp_path / "data", 6)


@pytest.fixture
def model_file(small, tmp_path):
    """Return a function that saves a small model of a kind and returns its path."""

    def save(kind="classifier", name="model.keras", **options):
        keras.utils.set_random_seed(1)
        names = options.pop("class_names", ["ant", "bee", "cat"])
        common = {"class_names": names}
        if kind == "classifier":
            common |= {"evaluation_transform": {"image_size": 48, "crop": 0.9}}
            model = small(**{"classes": 3, **common, **options})
        elif kind == "segmenter":
            backbone = small(include_top=False, **options)
            head = SemanticFPNHead(3, 8, pyramid_channels=8)
            model = Segmenter(backbone, head, 3, evaluation_transform={"short_side": 40}, **common)
        elif kind == "detector":
            sides = {"short_side": 40, "long_side": 80}
            common |= {"evaluation_transform": options.pop("evaluation_transform", sides)}
            model = MaskRCNN(
                small(include_top=False, **options), 3, channels=8, proposals=30,
                max_detections=6, score_threshold=0.0, **common,
            )  # fmt: skip
        else:
            model = small(include_top=False, **options)
        model.save(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def astronaut(tmp_path):
    path = tmp_path / "astronaut.jpg"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return str(path)
