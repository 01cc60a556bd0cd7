"""The pictures of the clusters."""

import warnings

import matplotlib.image
import numpy as np
import pytest

from keras_paca import (
    KerasPaCaWarning,
    ViTTM,
    cluster_statistics,
    memory_maps,
    plot_cluster_maps,
    plot_memory_maps,
)
from keras_paca.segmentation import Segmenter
from tests.marks import slow_but_on_torch


@pytest.fixture
def maps():
    random = np.random.default_rng(0).uniform(size=(1, 8, 12, 20))
    return {"P2": random, "P3": random[0, ::2, ::2]}


def test_picture_is_written(maps, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype("uint8")
    figure = plot_cluster_maps(image, maps, top=4, path=tmp_path / "clusters.png")
    pixels = matplotlib.image.imread(tmp_path / "clusters.png")
    assert pixels.shape[0] > 200
    assert pixels.std() > 0.05
    assert len(figure.axes) == 2 * (4 + 2)
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows


def test_strongest_first_and_heat_where_the_map_is_high(tmp_path):
    grid = np.zeros((4, 4, 3), "float32")
    grid[:, 2:, 1] = 1e-6
    grid[:, :2, 2] = 1 / 8  # wins eight patches
    grid[0, 3, 0] = 1  # wins one
    grid[2:, 2:, 1] = 1 / 4  # wins seven
    figure = plot_cluster_maps(np.zeros((16, 16, 3)), {"P2": grid}, top=3)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["P2", "winner per patch", "cluster 2", "cluster 1", "cluster 0"]
    heat = figure.axes[2].images[1].get_array()
    assert heat[:, :8].min() == 1
    assert heat[:, 8:].max() == 0
    winners = np.asarray(figure.axes[1].images[0].get_array())
    assert (winners[1, 1] == winners[15, 7]).all()
    assert (winners[1, 1] != winners[15, 15]).any()
    assert (winners[1, 1] != winners[1, 15]).any()
    assert (winners[15, 15] != winners[1, 15]).any()


def test_fewer_clusters_than_panels(maps):
    assert len(plot_cluster_maps(np.zeros((8, 8, 1)), {"P2": maps["P2"][..., :2]}).axes) == 8


@pytest.mark.parametrize(
    ("image", "change"),
    [
        (np.zeros((8, 8)), {}),
        (np.zeros((8, 8, 4)), {}),
        (np.zeros((8, 8, 3)), {"P2": np.zeros((2, 4, 4, 3))}),
        (np.zeros((8, 8, 3)), None),
    ],
)
def test_bad_shapes(image, change, maps):
    with pytest.raises(ValueError, match="Received"):
        plot_cluster_maps(image, {} if change is None else {**maps, **change})


def test_statistics():
    same = np.full((2, 4, 4, 3), 1 / 16, "float32")
    apart = np.zeros((1, 2, 2, 4), "float32")
    apart[0, [0, 0, 1, 1], [0, 1, 0, 1], range(4)] = 1
    statistics = cluster_statistics({"P2": same, "P3": apart})
    assert statistics["P2"]["cosine"] == pytest.approx(1)
    assert statistics["P2"]["winners"] == 1
    assert statistics["P3"]["cosine"] == pytest.approx(0)
    assert statistics["P3"]["winners"] == 4
    random = np.random.default_rng(0).uniform(size=(1, 5, 5, 6))
    columns = random.reshape(25, 6) / np.linalg.norm(random.reshape(25, 6), axis=0)
    cosines = columns.T @ columns
    expected = cosines[~np.eye(6, dtype=bool)].mean()
    assert cluster_statistics({"P2": random})["P2"]["cosine"] == pytest.approx(expected)


def test_memory_picture(tmp_path):
    maps = np.random.default_rng(0).uniform(size=(1, 2, 3, 4, 6))
    maps[0, 1, 2] = 0
    maps[0, 1, 2, 3, 5] = 9  # the least uniform
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype("uint8")
    figure = plot_memory_maps(image, maps, top=4, path=tmp_path / "memory.png")
    assert matplotlib.image.imread(tmp_path / "memory.png").std() > 0.05
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:2] == ["2 x 3 process tokens", "token (1, 2)"]
    assert len(titles) == 5
    heat = figure.axes[1].images[1].get_array()
    assert heat[24:, 40:].min() == 1
    assert heat[:24].max() == 0
    assert len(plot_memory_maps(image, maps[0], tokens=[(0, 0)]).axes) == 2
    for wrong in ([(2, 0)], [0], [], 3, [(0, 1, 2)], [(0, 0.5)], ["ab"], [(-1, 0)]):
        with pytest.raises(ValueError, match="`tokens` must be places"):
            plot_memory_maps(image, maps, wrong)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="`top` must be a positive integer"):
            plot_memory_maps(image, maps, top=wrong)
    with pytest.raises(ValueError, match="`maps` must be those of one image"):
        plot_memory_maps(image, maps[0, 0])


def frames(figure):
    """Return x, y, width and height of the frame in each picture but the first."""
    patches = [axis.patches[0] for axis in figure.axes[1:]]
    return [(*each.get_xy(), each.get_width(), each.get_height()) for each in patches]


@slow_but_on_torch
def test_memory_pictures_lie_on_the_patches():
    """Both grids begin at the top left; what the embeddings cut off is left free."""
    model = ViTTM(8, 2, 1, memory_patch_size=16, process_patch_size=28, classes=2)
    image = np.zeros((83, 111, 3), "uint8")
    maps = memory_maps(model, image[None])
    assert maps.shape == (1, 2, 3, 5, 6)
    maps[0, 1, 2] = 0
    maps[0, 1, 2, 4, 5] = 1
    for whole in (model, Segmenter(model, "mask_transformer", 2)):
        figure = plot_memory_maps(image, maps, tokens=[(1, 2)], model=whole)
        assert frames(figure) == [(55.5, 27.5, 28, 28)]
        heat = figure.axes[1].images[1]
        assert np.argwhere(heat.get_array() == 1).min(0).tolist() == [64, 80]
        assert np.argwhere(heat.get_array() == 1).max(0).tolist() == [79, 95]
        assert not heat.get_alpha()[80:].any()
        assert not heat.get_alpha()[:, 96:].any()
        assert heat.get_alpha()[:80, :96].all()
    with pytest.raises(ValueError, match="`maps` must be those of `model` for the image"):
        plot_memory_maps(image[:50], maps, model=model)


def test_patches_of_memory_pictures_without_a_model():
    """They divide the image, or are the only ones that make such grids, or are guessed."""
    maps = np.random.default_rng(0).uniform(size=(18, 27, 18, 27))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot_memory_maps(np.zeros((504, 757, 3), "uint8"), maps, tokens=[(1, 2)])
        assert frames(figure) == [(55.5, 27.5, 28, 28)]
        figure = plot_memory_maps(np.zeros((32, 48, 3)), maps[:2, :3, :4, :6], tokens=[(1, 2)])
        assert frames(figure) == [(31.5, 15.5, 16, 16)]
    with pytest.warns(KerasPaCaWarning, match="from 28 to 37 pixels would make 2 x 3 process"):
        figure = plot_memory_maps(np.zeros((83, 111, 3)), maps[:2, :3, :5, :6], tokens=[(1, 2)])
    assert frames(figure) == [(73.5, 36.5, 37, 37)]
    with pytest.raises(ValueError, match="No patches make 2 x 3 process tokens"):
        plot_memory_maps(np.zeros((83, 60, 3)), maps[:2, :3, :5, :6])
