"""One exported encoder for every test that only looks at it."""

import dataclasses
import fcntl
import json
import os
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import decode_image, evaluation_transform
from keras_mae.export import export_encoder, saved_model, verify
from keras_mae.models import ViTEncoder
from tests.base import fill_randomly
from tests.drawn import as_image, drawn, encoded

CROP = 0.875
# Every format and mode, of several sizes; the size of the model itself first
FILES = [
    encoded(as_image(drawn(28, 28)), "PNG"),
    encoded(as_image(drawn(40, 21)), "JPEG", quality=92),
    encoded(as_image(drawn(14, 33, 1)), "JPEG"),
    encoded(as_image(drawn(30, 45, 4)), "PNG"),
    encoded(as_image(drawn(31, 31)), "BMP"),
    encoded(as_image(drawn(9, 30)).quantize(50), "GIF"),
    encoded(as_image(drawn(37, 26)), "WEBP", lossless=True),
    encoded(as_image(drawn(2, 3, 2)), "PNG"),
]
PNG_AND_JPEG = FILES[:4] + FILES[7:]  # for exports without the other decoders, which are made in half the time


@dataclasses.dataclass
class Served:
    """A live encoder, where it was exported to, how it is pooled, and what the check of the export has found."""

    encoder: ViTEncoder
    path: str
    pooling: str = "mean"
    differences: dict[str, float] | None = None

    def __post_init__(self):
        self.loaded = tf.saved_model.load(self.path)

    def live(self, images):
        """The pooled tokens of uint8 images."""
        outputs = self.encoder(images)
        return outputs["cls_token"] if self.pooling == "cls" else outputs["patch_tokens"].numpy().mean(axis=1)

    def live_of_files(self, files):
        """The same for image files, after the evaluation transform."""
        shape = self.encoder.image_shape
        images = [evaluation_transform(decode_image(file, shape[-1]), shape, CROP) for file in files]
        return self.live(np.stack(images))


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """Written by the first of the test processes that needs it, as in pytest-xdist's documentation."""
    encoder = fill_randomly(
        ViTEncoder((28, 28, 3), 7, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=48, drop_path_rate=0.5)
    )
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    found = root / "served.json"
    with open(root / "served.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            found.write_text(json.dumps(_exported(encoder, str(root / "served" / "encoder"))))
    path, differences = json.loads(found.read_text())
    return Served(encoder, path, differences=differences)


def _exported(encoder, folder):
    """The path of the second version, and what its check has found."""
    differences, verify_export = {}, saved_model.verify_export
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "verify_export", lambda *arguments: differences.update(verify_export(*arguments)))
        patch.setattr(verify, "subprocess", subprocess)  # the one export that is checked as users' are
        return export_encoder(encoder, folder, 2, "mean", CROP), differences


@pytest.fixture
def unverified(monkeypatch):
    """Exports without the check in a fresh process, for tests that are not about it."""
    monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: {})
