"""Tests of keras_mae.training."""
