"""Tests of keras_mae.layers."""
