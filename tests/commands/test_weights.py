"""`keras-paca weights`."""

import shutil

from keras_paca import cli
from keras_paca.weights import fetch, released_files
from tests.marks import slow_but_on_torch


def test_weights_lists_all(capsys):
    assert cli.main(["weights"]) == 0
    output = capsys.readouterr().out
    for file in released_files():
        (line,) = [line for line in output.splitlines() if line.endswith(f" {file.file}")]
        assert f" {file.head} " in line
    assert "Licence" in output


@slow_but_on_torch
def test_weights_verify(tmp_path, monkeypatch, capsys, tiny_file):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert cli.main(["weights", "--verify"]) == 0
    assert "no released file" in capsys.readouterr().out
    folder = tmp_path / "keras_paca"
    folder.mkdir()
    name = released_files()[0].file
    shutil.copy(tiny_file, folder / name)
    fetch(released_files()[0])
    assert cli.main(["weights", "--verify"]) == 0
    assert f"{name}  unchanged  SHA-256 " in capsys.readouterr().out
    with (folder / name).with_suffix(".safetensors").open("ab") as stream:
        stream.write(b"x")
    assert cli.main(["weights", "--verify"]) == 1
    assert f"{name}  changed" in capsys.readouterr().out
