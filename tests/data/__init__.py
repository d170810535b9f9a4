"""Tests of keras_mae.data."""
