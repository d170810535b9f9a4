"""Vectors of many images: their files, and what is made of them."""

from keras_mae.retrieval.search import nearest
from keras_mae.retrieval.vectors import Vectors, open_vectors, write_vectors

__all__ = ["Vectors", "nearest", "open_vectors", "write_vectors"]
