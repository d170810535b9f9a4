"""The table in the docstring of `formats`: each row is held by tests, and each kind of model in them has a row."""

import re

from keras_mae.checkpoints import FORMATS, formats
from tests.checkpoints import test_against_published, test_description, test_hf_models, test_round_trips
from tests.checkpoints import test_timm_models as timm_tests
from tests.models import test_against_pytorch_simmim
from tests.reference import hf_models, timm_models

# the first words of each row, and the kinds in the tables of live models, or the test, that hold it
LIVE = {
    "timm": {
        "ViT and DeiT": ["vit", "vit, average"],
        "ViT without": ["no class token", "no bias", "no_embed_class"],
        "ViT with norms": ["qk_norm", "pre_norm"],
        "DINOv2": ["dinov2", "dinov2, registers", "registers with positions", "dinov2 giant"],
        "DINOv3 and LingBot": ["dinov3", "dinov3 qkvb", "dinov3 plus", "lingbot"],
    },
    "hf": {
        "ViT": ["vit", "vit, no bias"],
        "Dinov2": ["dinov2", "dinov2, registers", "dinov2 giant"],
        "DINOv3ViT": ["dinov3", "dinov3, key bias", "dinov3, gated"],
        "Pixio": ["pixio"],
    },
}
OTHERS = {
    ("mae_torch", "official MAE"): test_round_trips.test_theirs_and_back,
    ("simmim_torch", "SimMIM's code"): test_against_pytorch_simmim,
    ("hf", "ViTMAE"): test_against_published.test_mae,
    ("hf", "ViTForMaskedImageModeling"): test_description.test_masked_image_modeling_of_hugging_face,
    ("keras", "any model"): test_round_trips.test_ours_and_back,
}


def rows():
    """(format, models) of each row."""
    table = re.split(r"^=+  =+  =+$", formats.__doc__, flags=re.MULTILINE)[2]
    cells = [re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines()]
    assert all(written == "yes" for _, _, written in cells)
    return [(format, models) for format, models, _ in cells]


def test_each_row_is_held_by_tests():
    held = [*OTHERS, *((format, start) for format, kinds in LIVE.items() for start in kinds)]
    for format, models in rows():
        exact = [each for each in held if each == (format, models)]
        found = exact or [each for each in held if each[0] == format and models.startswith(each[1])]
        longest = max(found, key=lambda each: len(each[1]), default=None)
        assert longest is not None, f"no test holds the row {format}: {models}"
        held.remove(longest)
    assert not held, f"without a row: {held}"
    assert {format for format, _ in rows()} == set(FORMATS)


def test_each_kind_of_live_model_is_in_a_row():
    for format, kinds, tests in (("timm", timm_models.KINDS, timm_tests), ("hf", hf_models.KINDS, test_hf_models)):
        assert sorted(kind for row in LIVE[format].values() for kind in row) == sorted(kinds) == sorted(tests.KINDS)
