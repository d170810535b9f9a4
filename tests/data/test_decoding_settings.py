"""The settings of decoding reach every image of every kind of source."""

import pytest

from keras_mae.data import Decoding, evaluation_dataset, open_source, sample_images
from tests.data.test_sources import image_of
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


@pytest.mark.medium
def test_settings_of_decoding_reach_every_image(tmp_path):
    pixels = drawn(6, 8, 4)
    pixels[..., 3] = 0
    for number in range(40):
        write(tmp_path / f"{number:02}.png", encoded(as_image(pixels), "PNG"))
    for place, split in (("", None), ("memory:", "validation"), (f"disk:{tmp_path}/cache:", "validation")):
        source = open_source(f"{place}folder:{tmp_path}", split, Decoding(background=77))
        assert (image_of(source, 0) == 77).all()
    (images,) = evaluation_dataset(source, (6, 8, 3), source.num_images, 1.0)
    assert (images.numpy() == 77).all()
    assert (sample_images(source, (6, 8, 3), 4, 1.0) == 77).all()
    limited = open_source(f"folder:{tmp_path}", decoding=Decoding(max_pixels=47))
    with pytest.raises(ValueError, match=r"none of .* \(an image has 1 to 47 pixels .*max_megapixels.* 6 8\)$"):
        evaluation_dataset(limited, (6, 8, 3), 4, 1.0)
    with pytest.raises(ValueError, match=r"\(the file has another number of channels than the one asked for: 4 2\)$"):
        sample_images(open_source(f"folder:{tmp_path}"), (6, 8, 2), 4, 1.0)
