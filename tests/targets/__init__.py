"""Tests of keras_mae.targets."""
