"""Tests of keras_mae.trainers."""
