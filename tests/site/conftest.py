"""Fewer digits for code of the site that trains on them, which is as it stands otherwise."""

import pytest


@pytest.fixture
def few_digits(monkeypatch):
    """1,250 of the digits in place of 5,000, 1,000 of them for training."""
    from keras_mae.data import sources

    images, labels = sources._digits()
    monkeypatch.setattr(sources, "_digits", lambda: (images[:1250], labels[:1250]))
    monkeypatch.setattr(sources, "_DIGITS_TRAIN", 1000)
