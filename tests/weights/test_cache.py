"""Downloads against a local server that does all that servers do wrong."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from keras_paca.weights import cache, released_files
from keras_paca.weights.checkpoint import write_safetensors
from tests.marks import slow_but_on_torch
from tests.torch_writer import save_zip

pytestmark = slow_but_on_torch

FILE = released_files()[0]
TENSORS = {"a.weight": np.arange(6, dtype="float32").reshape(2, 3), "b": np.ones(4, "float16")}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        body, mode = server.body, server.mode
        if mode == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if mode != "no length":
            self.send_header(
                "Content-Length", str(len(body) + (1000 if mode == "wrong length" else 0))
            )
        self.end_headers()
        if mode in ("breaks off", "stalls", "slow"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            server.halfway.set()
            if mode != "breaks off":
                server.resume.wait(30)
            if mode != "slow":
                return
            body = body[len(body) // 2 :]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror of the released files, and an empty Keras cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    source = tmp_path / "source.pth"
    save_zip(source, {"state_dict": TENSORS})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.body, server.mode, server.requests = source.read_bytes(), "right", []
    server.halfway, server.resume = threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("KERAS_PACA_WEIGHTS_URL", server.url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.resume.set()
    server.shutdown()
    server.server_close()
    thread.join()


def _cached():
    """Return the names in the cache, locks apart."""
    folder = cache.cache_folder()
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def _assert_tensors(checkpoint):
    assert checkpoint.official
    assert set(checkpoint.tensors) == set(TENSORS)
    for key, array in TENSORS.items():
        np.testing.assert_array_equal(checkpoint.tensors[key], array)


def test_downloads_once_and_reuses(server, capsys):
    _assert_tensors(cache.fetch(FILE))
    stem = FILE.file.removesuffix(".pth")
    assert _cached() == [f"{stem}.json", f"{stem}.safetensors"]
    assert server.requests == [f"/{FILE.file}"]
    assert str(len(server.body)) in capsys.readouterr().out  # the progress bar
    _assert_tensors(cache.fetch(FILE))
    assert len(server.requests) == 1
    record = cache.read_record(FILE)
    assert record["bytes"] == len(server.body)
    assert record["source"] == f"{server.url}/{FILE.file}"
    assert [(f.file, state) for f, _, state in cache.verify_cache()] == [(FILE.file, "unchanged")]


def test_argument_wins_over_environment(server, monkeypatch):
    monkeypatch.setenv("KERAS_PACA_WEIGHTS_URL", "http://127.0.0.1:9")
    _assert_tensors(cache.fetch(FILE, server.url + "/"))


@pytest.mark.parametrize("mode", ["breaks off", "wrong length", "missing"])
def test_broken_download_leaves_nothing(server, mode):
    server.mode = mode
    with pytest.raises(FileNotFoundError) as error:
        cache.fetch(FILE)
    message = str(error.value)
    assert f"{server.url}/{FILE.file}" in message
    assert str(cache.cache_folder() / FILE.file) in message
    assert "weights=PATH" in message
    assert _cached() == []
    server.mode = "right"
    _assert_tensors(cache.fetch(FILE))


def test_length_unknown(server):
    server.mode = "no length"
    _assert_tensors(cache.fetch(FILE))


def test_stalled_connection_ends(server, monkeypatch):
    monkeypatch.setattr(cache, "STALL_SECONDS", 0.5)
    server.mode = "stalls"
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"nothing came for 0\.5 seconds"):
        cache.fetch(FILE)
    assert time.monotonic() - start < 20
    assert _cached() == []


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"<!DOCTYPE html><html>rate limit</html>", id="page"),
        pytest.param(b"", id="nothing"),
        pytest.param(np.random.default_rng(0).bytes(5000), id="noise"),
        pytest.param(b"PK\x03\x04" * 90, id="archive"),
    ],
)
def test_garbage_leaves_nothing(server, garbage):
    server.body = garbage
    with pytest.raises(cache.CheckpointError, match="IMNET_224_pacavit_tiny"):
        cache.fetch(FILE)
    assert _cached() == []


def test_truncated_file_of_the_right_length(server):
    server.body = server.body[:-200]
    with pytest.raises(cache.CheckpointError):
        cache.fetch(FILE)
    assert _cached() == []


def test_mirror_that_serves_the_converted_file(server, tmp_path):
    write_safetensors(tmp_path / "x.safetensors", TENSORS, None)
    server.body = (tmp_path / "x.safetensors").read_bytes()
    _assert_tensors(cache.fetch(FILE))


def test_no_network_names_all_ways_out(server):
    with pytest.raises(FileNotFoundError) as error:
        cache.fetch(FILE, "http://127.0.0.1:9")
    for part in ("http://127.0.0.1:9/", FILE.file, str(cache.cache_folder()), "weights=PATH"):
        assert part in str(error.value)


def test_file_put_into_the_cache_by_hand(server):
    server.mode = "missing"
    cache.cache_folder().mkdir(parents=True)
    (cache.cache_folder() / FILE.file).write_bytes(server.body)
    _assert_tensors(cache.fetch(FILE))
    assert server.requests == []


def test_other_file_under_the_same_name_later(server, tmp_path):
    """What was recorded at the first download holds for the next."""
    cache.fetch(FILE)
    (cache.cache_folder() / FILE.file).with_suffix(".safetensors").unlink()
    _assert_tensors(cache.fetch(FILE))  # the same again is right
    (cache.cache_folder() / FILE.file).with_suffix(".safetensors").unlink()
    save_zip(tmp_path / "other.pth", {"a.weight": TENSORS["a.weight"] + 1})
    server.body = (tmp_path / "other.pth").read_bytes()
    with pytest.raises(cache.CheckpointError, match="was recorded of it before"):
        cache.fetch(FILE)
    assert all(not name.endswith(".safetensors") for name in _cached())


def test_changed_cache_is_noticed(server):
    cache.fetch(FILE)
    converted = (cache.cache_folder() / FILE.file).with_suffix(".safetensors")
    data = bytearray(converted.read_bytes())
    data[-1] ^= 1
    converted.write_bytes(data)
    with pytest.raises(cache.CheckpointError, match="has changed since"):
        cache.fetch(FILE)
    assert cache.verify_cache()[0][2] == "changed"


def test_lost_or_spoilt_record(server):
    cache.fetch(FILE)
    record = (cache.cache_folder() / FILE.file).with_suffix(".json")
    for text in ("not json", "[]", "{}", json.dumps({"sha256": 3})):
        record.write_text(text)
        _assert_tensors(cache.fetch(FILE))
        assert cache.verify_cache()[0][2] == "not recorded"


def test_cache_that_cannot_be_written(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError, match="the cache can't be written"):
        cache.fetch(FILE)
    assert server.requests == []


def test_read_only_cache_that_holds_the_file(server, monkeypatch):
    """A shared, read-only cache serves: nothing is written to use what is there."""
    cache.fetch(FILE)

    def refuse(*arguments, **keywords):
        raise PermissionError("read-only")

    for name in ("mkdir", "write_text", "write_bytes", "replace", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("filelock.FileLock", refuse)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    _assert_tensors(cache.fetch(FILE))


def test_disk_full(server, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_safetensors", full)
    with pytest.raises(OSError, match="No space left"):
        cache.fetch(FILE)
    assert _cached() == []


_FETCH = (
    "from keras_paca.weights import cache, released_files; "
    "print(sorted(cache.fetch(released_files()[0]).tensors))"
)


@slow_but_on_torch
def test_killed_download_is_forgotten(server):
    server.mode = "slow"
    process = subprocess.Popen([sys.executable, "-c", _FETCH], stdout=subprocess.DEVNULL)
    assert server.halfway.wait(120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not any(name.endswith(".safetensors") for name in _cached())
    server.mode = "right"
    _assert_tensors(cache.fetch(FILE))
    assert not any(name.endswith(".part") for name in _cached())  # nor what it had left


@slow_but_on_torch
def test_two_at_once_download_once(server):
    server.mode = "slow"
    processes = [
        subprocess.Popen([sys.executable, "-c", _FETCH], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert server.halfway.wait(120)
    time.sleep(1)  # for the other to come to the lock
    server.resume.set()
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert output.strip().endswith("['a.weight', 'b']")
    assert len(server.requests) == 1


@slow_but_on_torch
@pytest.mark.parametrize("home", ["there", pytest.param("not there", marks=pytest.mark.slow)])
def test_cache_lies_in_that_of_keras(home, tmp_path):
    """In the user's home, or where Keras goes without one."""
    code = (
        "from pathlib import Path; from keras.src.backend import config\n"
        "from keras_paca.weights import cache\n"
        "print(Path(config.keras_home()) / 'keras_paca'); print(cache.cache_folder())"
    )
    home = tmp_path if home == "there" else Path(os.devnull) / "home"
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_HOME"}
    environment["HOME"] = environment["USERPROFILE"] = str(home)
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    theirs, ours = result.stdout.splitlines()[-2:]
    assert theirs == ours
