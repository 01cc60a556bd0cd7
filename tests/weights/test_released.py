"""The table of the released files."""

import dataclasses
from collections import Counter

from keras_paca.backbones import PaCaViT, RapidNet, ViTTM, paca_vit
from keras_paca.weights import released_files

PACA = [file for file in released_files() if file.family == "paca_vit"]
RAPIDNET = [file for file in released_files() if file.family == "rapidnet"]
VITTM = [file for file in released_files() if file.family == "vittm"]


def test_numbers_of_rows():
    tasks = Counter(file.task for file in PACA)
    assert tasks == {"classification": 12, "detection": 12, "segmentation": 15}
    tasks = Counter(file.task for file in RAPIDNET)
    assert tasks == {"classification": 4, "detection": 2, "segmentation": 2}


def test_the_row_of_vittm():
    (file,) = VITTM
    assert file.url.endswith("id=1bobJz3EROlPYmwRnjN74gYgm3b-9qrKI&export=download&confirm=t")
    assert f"vittm_{file.size}" in ViTTM.variants
    assert file.options.keys() >= {"memory_patch_size", "process_patch_size", "image_size"}
    assert (file.accuracy, file.params_m, file.gmacs) == ({}, None, None)  # nobody states them
    assert (file.crop, file.interpolation, file.verified) == (0.875, "bicubic", True)


def test_every_row_is_complete():
    for file in PACA:
        assert file.url == f"https://github.com/iVMCL/PaCaViT/releases/download/pacavit/{file.file}"
        assert file.file.endswith(".pth")
        assert f"paca_{file.size}" in PaCaViT.variants
        assert file.clustering in paca_vit.CLUSTERINGS
        assert len(file.clusters) == len(file.imagenet_clusters) == 4
        assert file.licence
        assert file.params_m > 10
        assert file.gmacs > 3
        wanted = {
            "classification": {"top1"},
            "detection": {"box_ap", "mask_ap"},
            "segmentation": {"miou"},
        }[file.task]
        assert set(file.accuracy) == wanted
        if file.task == "classification":
            assert (file.crop, file.interpolation) == (0.9, "bicubic")


def test_every_row_of_rapidnet_is_complete():
    for file in RAPIDNET:
        assert file.url.startswith("https://huggingface.co/SLDGroup/RapidNet/resolve/main/")
        folder = {"detection": "Detection/", "segmentation": "Semantic_Segmentation/"}
        assert file.url.endswith(f"main/{folder.get(file.task, '')}{file.file}")
        assert file.licence == "Apache-2.0"
        assert f"rapidnet_{file.size}" in RapidNet.variants
        assert (file.params_m, file.gmacs, file.options) == (None, None, {})
        is_classifier = file.task == "classification"
        assert (file.crop, file.interpolation) == (
            (0.9, "bicubic") if is_classifier else (None,) * 2
        )
    assert [file.accuracy for file in RAPIDNET if file.accuracy] == [{"top1": 76.3}]


def test_names_are_unique_and_the_contradicting_link_is_not_used():
    assert len({file.file for file in released_files()}) == len(released_files())
    assert len(PACA) == 39
    unverified = [file for file in released_files() if not file.verified]
    assert [file.file for file in unverified] == ["IMNET_224_pacavit_small_p2cconv_100.pth"]
    assert unverified[0].clusters == (100, 100, 100, 100)
    linked = [f for f in released_files() if f.file == "IMNET_224_pacavit_small_p2cconv_100_49.pth"]
    assert [file.clusters for file in linked] == [(100, 81, 64, 49)]


def test_segmentation_files_hold_more_clusters():
    for file in PACA:
        if file.task == "segmentation":
            assert file.clusters == tuple(200 if n else 0 for n in file.imagenet_clusters)
        else:
            assert file.clusters == file.imagenet_clusters


def test_options_follow_the_columns():
    first = released_files()[0]
    assert first.options == {
        "clustering": "conv",
        "clusters": (100, 100, 100, 0),
        "cluster_every": None,
    }
    other = dataclasses.replace(first, clusters=(7, 7, 7, 0), blockwise=True)
    assert other.options["clusters"] == (7, 7, 7, 0)
    assert other.options["cluster_every"] == 1
