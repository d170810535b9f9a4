"""Tests of keras_mae.optimizers."""
