"""A masked autoencoder in NumPy, slow and loop by loop, in float64: written from the paper, for comparison only.

One example at a time, no batching. Weights come as plain dicts of arrays:

    linear:  {"kernel": (in, out), "bias": (out,)}
    norm:    {"gain": (D,), "bias": (D,)}
    block:   {"norm1", "query", "key", "value", "output", "norm2", "mlp1", "mlp2"}, each one of the above
    encoder: {"patch": linear, "cls": (D,), "positions": (1 + L, D), "blocks": [block], "norm": norm, "heads": int}
    decoder: {"embed": linear, "mask_token": (D',), "positions": (1 + L, D'), "blocks", "norm", "heads", "head": linear}
"""

import math

import numpy as np

EPSILON = 1e-6


def patchify(image, patch_height, patch_width):
    """`(H, W, C)` to `(L, ph * pw * C)`: patches row by row, inside a patch row, column, channel."""
    height, width, channels = image.shape
    patches = []
    for top in range(0, height, patch_height):
        for left in range(0, width, patch_width):
            patches.append(
                [
                    float(image[top + row, left + column, channel])
                    for row in range(patch_height)
                    for column in range(patch_width)
                    for channel in range(channels)
                ]
            )
    return np.array(patches, dtype="float64")


def normalize_pixels(image, mean, std):
    """Levels in [0, 255] to what the network sees."""
    result = np.zeros(image.shape, dtype="float64")
    for channel in range(image.shape[-1]):
        result[..., channel] = (image[..., channel].astype("float64") / 255 - mean[channel]) / std[channel]
    return result


def sincos_table(rows, columns, dim, prefix_rows, temperature=10000):
    """Rows of zeros for the prefix, then one row a patch: sines and cosines of the column, then of the row."""
    table = [[0.0] * dim for _ in range(prefix_rows)]
    quarter = dim // 4
    for row in range(rows):
        for column in range(columns):
            values = []
            for position in (column, row):
                angles = [position / temperature ** (index / quarter) for index in range(quarter)]
                values += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            table.append(values)
    return np.array(table)


def mask_from_noise(noise, num_keep):
    """Keeps the patches with the smallest noise: `(ids_keep, ids_restore, mask)` of one example."""
    shuffled = sorted(range(len(noise)), key=lambda patch: noise[patch])
    ids_restore = [shuffled.index(patch) for patch in range(len(noise))]
    mask = [0.0 if shuffled.index(patch) < num_keep else 1.0 for patch in range(len(noise))]
    return shuffled[:num_keep], ids_restore, np.array(mask)


def linear(x, weights):
    return x @ weights["kernel"] + weights["bias"]


def layer_norm(x, weights):
    result = np.zeros_like(x)
    for index, token in enumerate(x):
        mean = token.sum() / len(token)
        variance = ((token - mean) ** 2).sum() / len(token)
        result[index] = (token - mean) / math.sqrt(variance + EPSILON) * weights["gain"] + weights["bias"]
    return result


def gelu(x):
    return np.array([[value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in row] for row in x])


def attention(x, block, heads):
    query, key, value = (linear(x, block[name]) for name in ("query", "key", "value"))
    size = x.shape[1] // heads
    result = np.zeros_like(x)
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        for token in range(len(x)):
            scores = [query[token, columns] @ key[other, columns] / math.sqrt(size) for other in range(len(x))]
            powers = [math.exp(score - max(scores)) for score in scores]
            for other in range(len(x)):
                result[token, columns] += powers[other] / sum(powers) * value[other, columns]
    return linear(result, block["output"])


def transformer_block(x, block, heads):
    x = x + attention(layer_norm(x, block["norm1"]), block, heads)
    return x + linear(gelu(linear(layer_norm(x, block["norm2"]), block["mlp1"])), block["mlp2"])


def encode(patches, encoder, ids_keep=None, mask=None, mask_token=None):
    """Normalised patches `(L, ph * pw * C)` to the class token and the visible tokens, `(1 + K, D)`.

    `mask` with `mask_token` (SimMIM) replaces the embedding of the patches where the mask is 1.
    """
    tokens = [encoder["cls"] + encoder["positions"][0]]
    for patch in range(len(patches)) if ids_keep is None else ids_keep:
        embedded = linear(patches[patch], encoder["patch"])
        if mask is not None and mask[patch] == 1:
            embedded = mask_token
        tokens.append(embedded + encoder["positions"][1 + patch])
    x = np.array(tokens)
    for block in encoder["blocks"]:
        x = transformer_block(x, block, encoder["heads"])
    return layer_norm(x, encoder["norm"])


def decode(tokens, decoder, ids_restore):
    """The encoder's output `(1 + K, D)` to a prediction for every patch, `(L, ph * pw * C)`."""
    embedded = linear(tokens, decoder["embed"])
    visible = embedded[1:]
    x = [embedded[0] + decoder["positions"][0]]
    for patch, place in enumerate(ids_restore):
        token = visible[place] if place < len(visible) else decoder["mask_token"]
        x.append(token + decoder["positions"][1 + patch])
    x = np.array(x)
    for block in decoder["blocks"]:
        x = transformer_block(x, block, decoder["heads"])
    return linear(layer_norm(x, decoder["norm"]), decoder["head"])[1:]


def pixel_target(patches, normalize):
    """Normalised patches, or each patch with its own mean and (unbiased) variance taken out."""
    if not normalize:
        return patches
    result = np.zeros_like(patches)
    for index, patch in enumerate(patches):
        mean = sum(patch) / len(patch)
        variance = sum((value - mean) ** 2 for value in patch) / (len(patch) - 1)
        result[index] = (patch - mean) / math.sqrt(variance + EPSILON)
    return result


def loss(predictions, targets, masks):
    """Mean squared error of a patch, averaged over the masked patches of the whole batch."""
    errors = []
    for prediction, target, mask in zip(predictions, targets, masks, strict=True):
        for patch in range(len(mask)):
            if mask[patch] == 1:
                errors.append(sum((prediction[patch] - target[patch]) ** 2) / len(target[patch]))
    return sum(errors) / len(errors)
