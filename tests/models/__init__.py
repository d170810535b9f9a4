"""Tests of keras_mae.models."""
