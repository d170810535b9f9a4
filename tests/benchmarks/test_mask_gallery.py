"""The picture of masks on the site of the samplers, and the README's picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import mask_gallery

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.medium
def test_hidden_patches_are_gray_and_others_are_the_photograph(tmp_path):
    paths = mask_gallery.draw(str(tmp_path), str(DOCS / "photographs.png"))
    images = mask_gallery.squares()
    assert images.shape == (3, 224, 224, 3) and len({image.tobytes() for image in images}) == 3
    masks = []
    for sampler in mask_gallery.samplers().values():
        drawn = mask_gallery.hidden(images, sampler)
        patches, originals = (
            x.reshape(3, 14, 16, 14, 16, 3).swapaxes(2, 3).reshape(3, 196, -1) for x in (drawn, images)
        )
        gray, same = (patches == 128).all(axis=-1), (patches == originals).all(axis=-1)
        assert (gray ^ same).all() and np.isin(
            gray.sum(axis=1), (147, 148)
        ).all()  # three quarters of 196, and of 49 units
        masks.append(gray)
    assert len({mask.tobytes() for mask in masks}) == 4
    for path in paths:
        there = np.asarray(Image.open(DOCS / Path(path).name).convert("RGB"), "int16")
        made = np.asarray(Image.open(path).convert("RGB"), "int16")
        assert there.shape == made.shape
        assert np.abs(there - made).mean() < 2, "python -m benchmarks.mask_gallery draws it anew"  # fonts, palettes
