"""What the decoder in a file of weights was trained to predict, as no tensor tells it."""

from __future__ import annotations

from keras_mae.checkpoints.config_beside import read_config
from keras_mae.checkpoints.description import Description
from keras_mae.checkpoints.known_files import has_plain_decoder
from keras_mae.models.saved_files import read_parts
from keras_mae.registry import listed

PLAIN, NORMALISED = "plain pixels", "the pixels of each patch normalised"


def target_of(source: str, description: Description) -> str | None:
    """What a file's decoder predicts: `PLAIN`, `NORMALISED`, or the name of another target; None if nothing tells it.

    A `.keras` file holds its target, Hugging Face's config states `norm_pix_loss`, and of published files it is known.

    Args:
        source: as the file was named, see `local_path`.
        description: of the file, with a decoder.
    """
    path = description.path
    if description.method is None:
        return None
    if path.lower().endswith(".keras"):
        parts = {name.removeprefix("keras_mae>"): arguments for name, arguments in read_parts(path)}
        if "PixelTarget" in parts:
            return NORMALISED if parts["PixelTarget"].get("normalize") else PLAIN
        return listed([name for name in parts if name.endswith("Target")]) or None
    if has_plain_decoder(source):
        return PLAIN
    if description.format != "hf":
        return None
    if description.method == "simmim":  # Hugging Face's class has no other
        return PLAIN
    normalised = read_config(path).normalize_target
    return None if normalised is None else NORMALISED if normalised else PLAIN
