"""Tests of keras_mae.commands."""
