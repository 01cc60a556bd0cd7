"""The command that installs an extra."""

from pathlib import Path

import pytest

import keras_paca
from keras_paca import extras
from keras_paca.extras import install_command


def test_the_command_of_a_clone_names_its_folder():
    clone = Path(keras_paca.__file__).parents[1]
    assert install_command("coco") == f'pip install "{clone}[coco]"'


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        (None, ""),
        ("{}", ""),
        ('{"url": "https://example.com/keras_paca"}', ""),
        ('{"url": "file:///home/me/keras_paca"}', " @ file:///home/me/keras_paca"),
    ],
)
def test_the_command_of_an_installed_package(origin, address, monkeypatch, tmp_path):
    class Distribution:
        def read_text(self, name):
            return origin

    monkeypatch.setattr(extras, "__file__", str(tmp_path / "keras_paca" / "extras.py"))
    monkeypatch.setattr(extras, "distribution", lambda name: Distribution())
    assert install_command("a,b") == f'pip install "keras-paca[a,b]{address}"'
