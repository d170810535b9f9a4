"""Tests of keras_mae.checkpoints."""
