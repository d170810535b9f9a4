"""Fewer digits for code of the site that trains on them, which is as it stands otherwise."""

import keras
import pytest


@pytest.fixture
def trained_with(monkeypatch):
    """Sets what `compile` is given by itself. Tracing and XLA take most of the time of a training of seconds."""
    compile_model = keras.Model.compile

    def set_to(**own):
        patched = lambda model, *given, **settings: compile_model(model, *given, **{**settings, **own})  # noqa: E731
        monkeypatch.setattr(keras.Model, "compile", patched)

    return set_to


@pytest.fixture
def few_digits(monkeypatch):
    """Leaves so many of the 4,000 digits for training, and a fourth as many for the test."""
    from keras_mae.data import sources

    images, labels = sources._digits()

    def leave(train):
        there = train * 5 // 4
        monkeypatch.setattr(sources, "_digits", lambda: (images[:there], labels[:there]))
        monkeypatch.setattr(sources, "_DIGITS_TRAIN", train)

    return leave
