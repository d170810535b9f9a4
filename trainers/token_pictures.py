"""Pictures of what an encoder's patch tokens hold, and of where attention looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mae.data.display import Display
from keras_mae.encoders import Encoder
from keras_mae.encoders.pooling import patch_tokens
from keras_mae.models.pooled_head import PooledHead
from keras_mae.trainers.pictures import picture_grid

SHOWN = 6  # maps of single queries or heads beside each other
_SIDE = 112  # of a tile at least, in pixels
_PERCENTILES = (1, 99)
_BATCH = 32  # images that are encoded together
_DIM = 0.45  # of the gray image below a map


class Maps(NamedTuple):
    """Attention maps of some images.

    Attributes:
        weights: `(N, M, rows, columns)`, of M queries or heads.
        kind: `"query"` or `"head"`.
        note: a sentence that says what they are.
    """

    weights: np.ndarray
    kind: str
    note: str


def attention_pictures(model: Encoder | PooledHead, images: np.ndarray, one_each: bool = False) -> list[Image.Image]:
    """Pictures of the patch tokens' colours and the attention maps of images.

    Each image has a row: the image, its tokens' colours (see `token_colours`), the mean of all maps, and single maps,
    bright over the gray image where the attention is. These are the maps of a classifier's queries if its pooling is
    attentive, or else those of the class token in the heads of the last block; without a class token there are none.

    Args:
        model: an encoder, or a classifier or regressor.
        images: `(N, H, W, C)` in [0, 255], uint8 if they have 8 bits.
        one_each: whether every image has a picture of its own, with all maps; else there is one picture, with the
            `SHOWN` maps that differ most.

    Raises:
        ValueError: if tokens are not finite.
    """
    attentive = isinstance(model, PooledHead) and model.attentive is not None
    encoder, layer = _encoder_of(model), model.layer if attentive else None
    tokens = np.concatenate(
        [encoder.features(part, patch_tokens, layer).numpy().astype("float32") for part in _parts(images)]
    )  # (N, L, D)
    broken = np.count_nonzero(~np.isfinite(tokens).all(axis=(1, 2)))
    if broken:
        raise ValueError(
            f"the patch tokens of {broken} of {len(images)} images are not finite: the encoder's weights hold NaN"
        )
    colours = token_colours(tokens, encoder.grid)
    maps = _maps(model if attentive else encoder, images, tokens)
    display = Display(images)
    zoom = max(1, -(-_SIDE // min(encoder.image_shape[:2])))
    shown = _enlarged(np.broadcast_to(display(images), (*images.shape[:3], 3)), zoom)
    size = shown.shape[1:3]
    where = "" if layer is None else f" after layer {layer}"
    notes = [
        *display.notes,
        f"Red, green and blue of the second column are the three largest principal components of the patch tokens"
        f"{where}, over all images here; values beyond the 1st and 99th percentile are cut.",
        "Without a class token or attentive pooling, there is no attention to draw." if maps is None else maps.note,
    ]
    stacks, headings = [shown, _resized(colours, size, Image.Resampling.NEAREST)], ["image", "patch tokens"]
    if maps is None:
        chosen: Sequence[int] = ()
    else:
        chosen = range(maps.weights.shape[1]) if one_each else most_different(maps.weights, SHOWN)
        stacks.append(overlaid(shown, maps.weights.mean(axis=1)))
        headings.append("all queries" if maps.kind == "query" else "all heads")
        stacks += [overlaid(shown, maps.weights[:, index]) for index in chosen]
        headings += [f"{maps.kind} {index + 1}" for index in chosen]
    if not one_each:
        return [picture_grid(stacks, headings, notes, columns=1)]
    return [_wrapped_tiles([stack[index] for stack in stacks], headings, notes) for index in range(len(images))]


def _encoder_of(model: Encoder | PooledHead) -> Encoder:
    return model.encoder if isinstance(model, PooledHead) else model


def _parts(images: np.ndarray) -> list[np.ndarray]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _maps(model: Encoder | PooledHead, images: np.ndarray, tokens: np.ndarray) -> Maps | None:
    if isinstance(model, PooledHead) and model.attentive is not None:
        weights = model.attentive.attention(tf.constant(tokens)).numpy()
        what = f"the {weights.shape[1]} queries of the attentive pooling"
        grid, kind = model.encoder.grid, "query"
    else:
        encoder = _encoder_of(model)
        if not getattr(encoder, "num_cls_tokens", 0) or not hasattr(encoder, "class_token_attention"):
            return None
        weights = np.concatenate([encoder.class_token_attention(part).numpy() for part in _parts(images)])
        what = f"the class token in the {weights.shape[1]} heads of the last block"
        grid, kind = encoder.grid, "head"
    return Maps(
        weights.reshape(*weights.shape[:2], *grid),
        kind,
        f"Attention of {what}, each map stretched from its smallest to its largest value.",
    )


def token_colours(tokens: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The three largest principal components of patch tokens as red, green and blue.

    Each component is stretched from its 1st to its 99th percentile over all tokens, so that a few outliers do not take
    the range. A component's sign is chosen so that its largest weight is positive.

    Args:
        tokens: `(N, L, D)` of images that are to be compared.
        grid: rows and columns of patches, `L` together.

    Returns:
        uint8 `(N, rows, columns, 3)`; of fewer than three dimensions, the others are black.

    Reference: arXiv 2304.07193 (DINOv2), figure 1, without its separation of the background.
    """
    flat = tokens.reshape(-1, tokens.shape[-1]).astype("float64")
    flat = flat - flat.mean(axis=0)
    _, vectors = np.linalg.eigh(flat.T @ flat)  # in the order of rising variance
    axes = vectors[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found = flat @ axes
    low, high = np.percentile(found, _PERCENTILES, axis=0)
    levels = 255 * (found - low) / np.where(high > low, high - low, 1)
    colours = np.zeros((len(flat), 3), "uint8")
    colours[:, : levels.shape[1]] = np.clip(np.round(levels), 0, 255)
    return colours.reshape(len(tokens), *grid, 3)


def most_different(weights: np.ndarray, count: int) -> list[int]:
    """The maps that look at the most different places: each next one has the least in common with those before.

    Args:
        weights: `(N, M, rows, columns)`.
        count: how many to choose, if there are as many.

    Returns:
        Indices of maps; the first is the one that differs most from the mean of all.
    """
    each = np.moveaxis(weights, 1, 0).reshape(weights.shape[1], -1).astype("float64")  # (M, N * L)
    unit = each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
    mean = unit.mean(axis=0)
    chosen = [int(np.argmin(unit @ mean))]
    while len(chosen) < min(count, len(unit)):
        nearest = (unit @ unit[chosen].T).max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
    return chosen


def overlaid(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Maps over gray images, bright where the weights are large.

    Args:
        images: uint8 `(N, H, W, 3)`.
        weights: `(N, rows, columns)`, from 0; each map is scaled from its smallest to its largest.

    Returns:
        uint8 `(N, H, W, 3)`.
    """
    from matplotlib import colormaps

    low, high = (getattr(weights, name)(axis=(1, 2), keepdims=True) for name in ("min", "max"))
    share = (weights - low) / np.where(high > low, high - low, 1)
    share = _resized((255 * share).round().astype("uint8"), images.shape[1:3], Image.Resampling.BILINEAR) / 255
    gray = _DIM * images.astype("float64").mean(axis=-1, keepdims=True)
    colour = 255 * colormaps["inferno"](share)[..., :3]
    return np.round(gray * (1 - share[..., None]) + colour * share[..., None]).astype("uint8")


def _enlarged(images: np.ndarray, zoom: int) -> np.ndarray:
    return images.repeat(zoom, axis=1).repeat(zoom, axis=2)


def _resized(tiles: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    """uint8 tiles `(N, rows, columns[, 3])` in another size, height and width."""
    return np.stack([np.asarray(Image.fromarray(tile).resize(size[::-1], how)) for tile in tiles])


def _wrapped_tiles(tiles: Sequence[np.ndarray], headings: Sequence[str], notes: Sequence[str]) -> Image.Image:
    """The tiles of one image in rows of at most `SHOWN + 3`, each under its heading."""
    width = min(SHOWN + 3, len(tiles))
    blank = -len(tiles) % width
    tiles, headings = [*tiles, *[np.full_like(tiles[0], 255)] * blank], [*headings, *[" "] * blank]
    rows = [slice(start, start + width) for start in range(0, len(tiles), width)]
    parts = [
        picture_grid([tile[None] for tile in tiles[row]], headings[row], notes if row == rows[-1] else (), columns=1)
        for row in rows
    ]
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), (255, 255, 255))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole
