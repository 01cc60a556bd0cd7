"""Folders of pictures: which files are images and folders classes, and how they are split."""

import math
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from keras_paca.preprocessing.folders import find_images, list_images, split_files
from keras_paca.train.image_folder import ImageFolder
from tests.data import save_bright_and_dark
from tests.marks import slow_but_on_torch
from tests.refusal import refusal

pytestmark = slow_but_on_torch


@pytest.fixture
def folder(tmp_path):
    """Two classes, dark and bright, ten pictures each."""
    return save_bright_and_dark(tmp_path / "data", 10, lambda i: (40 + i, 60))


def picture(path, size=(8, 8)):
    """Save a picture, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, "PNG")
    return path


# --- Which files are images -----------------------------------------------------------------

HIDDEN = [
    ".DS_Store", "._0.png", ".hidden.png", ".ipynb_checkpoints/0-checkpoint.png", "Thumbs.db",
    "desktop.ini", "__MACOSX/0.png", "@eaDir/0.png@SynoEAThumb/0.png", ".git/0.png", "Icon\r",
    "$RECYCLE.BIN/0.png", "System Volume Information/0.png", "lost+found/0.png",
]  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_what_systems_leave_is_no_image_and_no_class(name, folder):
    """Neither beside the classes, nor in one, nor in a folder of one; and without a warning."""
    expected = find_images(folder)
    for place in (folder, folder / "dark", folder / "dark" / "more"):
        picture(place / name)
    assert find_images(folder) == expected
    assert list_images(folder) == [path for path, _ in expected[0]]


def test_a_folder_that_is_hidden_itself_counts(tmp_path):
    path = picture(tmp_path / ".cache" / "0.png")
    assert list_images(tmp_path / ".cache") == [path]


@pytest.mark.parametrize(
    "suffix", ["png", "PNG", "jfif", "JPG", "jpe", "webp", "ppm", "jp2", "ico"]
)
def test_suffixes_of_pillow_count(suffix, tmp_path):
    path = picture(tmp_path / f"a.{suffix}")
    assert list_images(tmp_path) == [path]


def test_avif_counts_where_pillow_reads_it(tmp_path):
    picture(tmp_path / "a.png")
    if ".avif" in Image.registered_extensions():
        path = picture(tmp_path / "a.avif")
        assert path in list_images(tmp_path)
    else:
        picture(tmp_path / "a.avif")
        with pytest.warns(UserWarning, match=r"1 \.avif \(Pillow reads it from version 11\.3"):
            list_images(tmp_path)


@pytest.mark.parametrize("call", [list_images, find_images])
def test_other_files_are_left_out_with_one_warning(call, folder):
    expected = call(folder)
    names = [
        "a.heic",
        "b.HEIC",
        "notes.txt",
        "c.svg",
        "d.webm",
        "e.pdf",
        "f.eps",
        "g.mpg",
        "LICENSE",
    ]
    for name in names:
        (folder / "dark" / name).write_text("no picture")
    with pytest.warns(UserWarning, match="^Left out") as caught:
        assert call(folder) == expected
    assert len(caught) == 1
    assert caught[0].filename == __file__
    message = str(caught[0].message)
    assert message.startswith(f"Left out of {folder}: 9 files that Pillow doesn't read: 2 .heic (")
    assert "pillow-heif" in message
    for suffix in (".txt", ".svg", ".webm", ".pdf", ".eps", ".mpg", "without suffix"):
        assert f"1 {suffix}" in message
    assert "\n" not in message


def test_many_suffixes_are_cut_short(tmp_path):
    picture(tmp_path / "a.png")
    for i in range(15):
        (tmp_path / f"a.x{i}").touch()
    with pytest.warns(UserWarning, match=r"15 files .* 1 \.x4, and 5 more\.$"):
        list_images(tmp_path)


def test_nested_and_sorted(tmp_path):
    names = ["a/b.png", "a/b/c.png", "a.png", "b c/ü.png", "folder.png/d.png"]
    paths = [picture(tmp_path / name) for name in names]
    assert list_images(f"{tmp_path}/") == sorted(paths)


def test_list_images_of_no_images(tmp_path):
    assert "No such folder" in refusal(lambda: list_images(tmp_path / "none"), FileNotFoundError)
    assert "with none" in refusal(lambda: list_images(tmp_path))
    (tmp_path / "a.heic").touch()
    message = refusal(lambda: list_images(tmp_path))
    assert "with none, only 1 .heic (Pillow reads it with the package pillow-heif" in message
    assert "Received a file" in refusal(lambda: list_images(tmp_path / "a.heic"))


needs_links = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@needs_links
def test_links_are_followed(folder, tmp_path):
    expected = find_images(folder)[1]
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder / "dark", tmp_path / "elsewhere" / "dark")
    (folder / "dark").symlink_to(tmp_path / "elsewhere" / "dark")
    (folder / "bright" / "10.png").symlink_to(folder / "bright" / "0.png")
    (folder / "bright" / "loop").symlink_to(folder)
    (folder / "dark" / "itself").symlink_to(folder / "dark")
    files, classes = find_images(folder)
    assert classes == expected
    inside = [path for path, _ in files if "loop" not in path.parts]
    assert len(inside) == 21
    assert all(path.exists() for path, _ in files)


@needs_links
def test_links_to_nothing_are_named(folder):
    (folder / "dark" / "99.png").symlink_to(folder / "gone.png")
    assert "99.png: a link to nothing" in refusal(lambda: find_images(folder))
    (folder / "dark" / "99.png").unlink()
    (folder / "cats").symlink_to(folder / "gone")
    assert "link to nothing: " in refusal(lambda: find_images(folder), FileNotFoundError)


@needs_links
def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "dark" / "pipe.png")
    assert "pipe.png: a link to nothing, or no file" in refusal(lambda: find_images(folder))


# --- Which folders hold classes -------------------------------------------------------------


def test_find_images(folder):
    files, classes = find_images(folder)
    assert classes == ["bright", "dark"]
    assert len(files) == 20
    assert files == sorted(files)
    assert [label for _, label in files] == [0] * 10 + [1] * 10
    assert find_images(f"{folder}/") == (files, classes)


def test_names_of_any_script_and_with_spaces(tmp_path):
    for name in ("a cat", "犬", "Ünïcode"):
        for i in range(2):
            picture(tmp_path / name / f"{i} ä.png")
    assert find_images(tmp_path)[1] == sorted(["a cat", "犬", "Ünïcode"])


@pytest.mark.parametrize(
    "names", [("Cat", "cat"), [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]]
)
def test_classes_of_almost_the_same_name_are_told(names, tmp_path):
    for name in names:
        for i in range(2):
            picture(tmp_path / name / f"{i}.png")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes the names for one")
    with pytest.warns(UserWarning, match="almost the same name") as caught:
        assert find_images(tmp_path)[1] == sorted(names)
    assert len(caught) == 1


def test_bad_folders(folder, tmp_path):
    missing = refusal(lambda: find_images(tmp_path / "none"), FileNotFoundError)
    assert str(tmp_path / "none") in missing
    message = refusal(lambda: find_images(folder / "dark" / "0.png"))
    assert f"Received a file: {folder / 'dark' / '0.png'}" in message
    archive = shutil.make_archive(tmp_path / "archive", "zip", folder)
    message = refusal(lambda: find_images(archive))
    assert message.endswith(f"Received a file: {archive}. Unpack the archive first.")
    (tmp_path / "empty").mkdir()
    assert refusal(lambda: find_images(tmp_path / "empty")).endswith("with 0 folders")
    message = refusal(lambda: find_images(folder / "dark"))
    assert message.endswith(f"{folder / 'dark'}, with 0 folders and 10 images in none")
    message = refusal(lambda: find_images(picture(tmp_path / "one" / "a" / "0.png").parents[1]))
    assert message.endswith("with 1 folder")


def test_a_folder_around_the_folder_is_told(folder, tmp_path):
    (tmp_path / "around").mkdir()
    inner = shutil.move(folder, tmp_path / "around" / "data")
    message = refusal(lambda: find_images(tmp_path / "around"))
    assert message.endswith(f"with 1 folder. Did you mean {inner}?")


def test_classes_with_too_few_images_are_named_at_once(folder):
    (folder / "empty").mkdir()
    picture(folder / "one" / "0.png")
    (folder / "other").mkdir()
    for i in range(3):
        (folder / "other" / f"{i}.heic").touch()
    message = refusal(lambda: find_images(folder))
    assert f"{folder}, where 'empty' has 0, 'one' has 1, 'other' has 0 beside 3 .heic (" in message
    for i in range(12):
        (folder / f"x{i:02}").mkdir()
    assert refusal(lambda: find_images(folder)).endswith("'x06' has 0, and 5 more")


@pytest.mark.parametrize(
    "names",
    [("train", "val"), ("Training", "testing"), ("train", "valid", "test"), ("test", "val")],
)
def test_parts_of_a_data_set_are_no_classes(names, folder, tmp_path):
    for name in names:
        shutil.copytree(folder, tmp_path / "parts" / name)
    message = refusal(lambda: find_images(tmp_path / "parts"))
    best = names[0] if names[0].lower().startswith("train") else sorted(names)[0]
    assert message.endswith(f"Give the one to train on, such as {tmp_path / 'parts' / best}")
    find_images(tmp_path / "parts" / names[0])
    # One that holds only pictures is a part too.
    shutil.rmtree(tmp_path / "parts" / names[1])
    picture(tmp_path / "parts" / names[1] / "0.png")
    assert "are the parts of a data set" in refusal(lambda: find_images(tmp_path / "parts"))


def test_classes_named_like_parts_give_a_warning(tmp_path):
    for name in ("test", "train"):
        for i in range(2):
            picture(tmp_path / name / f"{i}.png")
    with pytest.warns(UserWarning, match=r"\(test, train\) are those of the parts") as caught:
        assert find_images(tmp_path)[1] == ["test", "train"]
    assert caught[0].filename == __file__
    for i in range(2):  # with a third name they are classes
        picture(tmp_path / "bus" / f"{i}.png")
    assert find_images(tmp_path)[1] == ["bus", "test", "train"]


def test_files_beside_the_classes(folder):
    expected = find_images(folder)
    (folder / "README.txt").touch()
    assert find_images(folder) == expected
    picture(folder / "stray.png")
    with pytest.warns(UserWarning, match=r"1 image in no class, such as stray\.png"):
        assert find_images(folder) == expected


# --- What is in the files -------------------------------------------------------------------


def test_all_bad_files_are_named_at_once(folder):
    whole = (folder / "dark" / "0.png").read_bytes()
    (folder / "bright" / "a.jpg").write_text("no picture")
    (folder / "dark" / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dark" / "c.png").touch()
    Image.fromarray(np.zeros((8, 8), "float32")).save(folder / "dark" / "d.tif")
    message = refusal(lambda: find_images(folder))
    assert "4 of 24 that can't" in message
    for name, reason in {
        "bright/a.jpg": "which is none of them",
        "dark/b.png": "truncated or damaged",
        "dark/c.png": "an empty file",
        "dark/d.tif": "of 32-bit floats",
    }.items():
        assert f"{folder / name}: {reason}" in message
    for i in range(12):
        (folder / "bright" / f"b{i:02}.jpg").write_text("no picture")
    message = refusal(lambda: find_images(folder))
    assert "16 of 36 that can't" in message
    assert message.count(str(folder)) == 10
    assert message.endswith("; and 6 more")


def test_an_image_too_long_to_be_resized(folder):
    path = picture(folder / "dark" / "line.png", (10000, 1))
    find_images(folder)
    message = refusal(lambda: find_images(folder, image_size=224))
    assert f"{path}: of 1 x 10000 pixels, which would become 248 x 2480000" in message
    data = ImageFolder([(path, 0)], classes=1, image_size=224, batch_size=1)
    assert str(path) in refusal(lambda: data[0])


def test_progress(folder):
    calls = []
    find_images(folder, progress=lambda done, count: calls.append((done, count)))
    assert calls == [(i, 20) for i in range(1, 21)]


def test_dark_pictures_give_one_warning(folder):
    for i in range(3):
        Image.fromarray(np.full((8, 8), 4095, "uint16")).save(folder / "dark" / f"wide{i}.png")
    with pytest.warns(UserWarning, match=r"wide0\.png holds .* 2 more images") as caught:
        files, _ = find_images(folder)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for training in (False, True):  # said already
        data = ImageFolder(files, classes=2, image_size=32, batch_size=32, training=training)
        assert data[0][0].shape == (23, 32, 32, 3)


# --- Training and validation ----------------------------------------------------------------


def test_split(folder):
    files, _ = find_images(folder)
    training, validation = split_files(files, 0.3, seed=1)
    assert sorted(training + validation) == sorted(files)
    assert [label for _, label in validation] == [0] * 3 + [1] * 3
    assert split_files(files, 0.3, seed=1) == (training, validation)
    assert split_files(files, 0.3, seed=2) != (training, validation)
    assert split_files(files, np.float32(0.3), seed=1) == (training, validation)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_two_files_are_split_one_to_one(share):
    files = [("a", 0), ("b", 0)]
    assert [len(part) for part in split_files(files, share)] == [1, 1]


@pytest.mark.parametrize(
    "share", [0, 1.0, -0.1, 1.5, math.nan, math.inf, "0.2", None, True, [0.2], 0.2j]
)
def test_wrong_shares(share):
    with pytest.raises(ValueError, match=r"`share` must lie in \(0, 1\). Received: share="):
        split_files([("a", 0), ("b", 0)], share)


def test_classes_that_cannot_be_split():
    with pytest.raises(ValueError, match=r"one of class 1, lonely\.png"):
        split_files([("a", 0), ("b", 0), ("lonely.png", 1)])
    with pytest.raises(ValueError, match="Received: no files"):
        split_files([])
