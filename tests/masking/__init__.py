"""Tests of keras_mae.masking."""
