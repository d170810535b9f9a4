"""The encoders under the contract of all encoders, and who may know which encoder it is."""

import os
import re

import pytest

from keras_mae.models import ViTEncoder
from tests.base import ROOT, fill_randomly, small_encoder
from tests.contracts import EncoderContract
from tests.toys import ConvEncoder


class TestViTEncoder(EncoderContract):
    def make(self, **arguments):
        return small_encoder(num_layers=2, **arguments)


class TestSimMIMsViT(EncoderContract):
    def make(self, **arguments):
        form = {"position_embedding": None, "relative_position_bias": "per_block", "layer_scale": 0.1}
        return small_encoder(num_layers=2, num_cls_tokens=0, **form, **arguments)


class TestConvEncoder(EncoderContract):
    drops_patches = False

    def make(self, **arguments):
        return fill_randomly(ConvEncoder(self.image_shape, **arguments))


def test_only_encoders_know_that_one_is_a_vision_transformer():
    """No `isinstance` of ViTEncoder outside of `encoders/`: everything else goes by `Encoder`."""
    found = []
    for folder in ("keras_mae", "trainers", "export"):
        for directory, _, files in os.walk(os.path.join(ROOT, folder)):
            for path in (os.path.join(directory, name) for name in files if name.endswith(".py")):
                with open(path, encoding="utf-8") as file:
                    if re.search(r"isinstance\([^)]*ViTEncoder|is ViTEncoder", file.read()):
                        found.append(os.path.relpath(path, ROOT))
    assert [path for path in found if not path.startswith(os.path.join("keras_mae", "encoders"))] == []


def test_layers_are_counted_from_1_and_rise():
    encoder = small_encoder(num_layers=2)
    for wrong in ([0], [3], [2, 1], [1, 1], []):
        with pytest.raises(ValueError, match="layers are counted from 1 to 2, and come in rising order; got"):
            encoder.intermediates([[0]], wrong)
    assert isinstance(encoder, ViTEncoder)
