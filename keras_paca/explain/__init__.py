"""Cluster and memory maps: computing, comparing and drawing them."""

from keras_paca.explain.cluster_maps import cluster_maps
from keras_paca.explain.memory_maps import memory_maps
from keras_paca.explain.pictures import cluster_statistics, plot_cluster_maps, plot_memory_maps

__all__ = [
    "cluster_maps",
    "cluster_statistics",
    "memory_maps",
    "plot_cluster_maps",
    "plot_memory_maps",
]
