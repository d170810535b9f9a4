"""Tests of keras_mae.export."""
