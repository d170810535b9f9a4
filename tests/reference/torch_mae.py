"""Masked autoencoders in PyTorch, one example at a time, in float64: written from the papers, for their gradients too.

The plain decoder, of all patches or of a part of the masked ones, follows arXiv 2111.06377; the cross decoder and its
inter-block attention arXiv 2401.14391. Weights are dicts of tensors, as in `numpy_mae`, from `from_keras`:

    encoder: {"patch", "prefix": (P, D), "positions": (P + L, D), "blocks", "norm", "heads"}
    decoder: {"embed", "mask_token", "positions", "blocks", "norm", "heads", "head"}
    cross decoder: likewise without "embed", with "mix" and "memory_norms" for inter-block attention; its blocks are
        {"norm1", "query", "key", "value", "output", "norm2", "mlp1", "mlp2"}, and keys and values are of width D.
"""

import math

import torch

EPSILON = 1e-6
torch.set_num_threads(1)  # on tensors of some hundred numbers, threads that wait for each other take most of the time


def linear(x, weights):
    return x @ weights["kernel"] + weights["bias"]


def layer_norm(x, weights):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt() * weights["gain"] + weights["bias"]


def mlp(x, block):
    hidden = linear(x, block["mlp1"])
    return linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), block["mlp2"])


def attention(x, memory, block, heads):
    """Each of the tokens `x` takes from the tokens `memory`; the same tokens are self-attention."""
    query, key, value = linear(x, block["query"]), linear(memory, block["key"]), linear(memory, block["value"])
    size, outputs = query.shape[1] // heads, []
    for start in range(0, query.shape[1], size):
        columns = slice(start, start + size)
        shares = torch.softmax(query[:, columns] @ key[:, columns].T / math.sqrt(size), dim=-1)
        outputs.append(shares @ value[:, columns])
    return linear(torch.cat(outputs, dim=-1), block["output"])


def transformer_block(x, block, heads):
    normed = layer_norm(x, block["norm1"])
    x = x + attention(normed, normed, block, heads)
    return x + mlp(layer_norm(x, block["norm2"]), block)


def encode(patches, encoder, visible, mask_token=None):
    """Normalised patches `(L, ph * pw * C)` to the tokens after each layer, and after the final norm.

    With a mask token it stands for the patches that are not visible, and all patches enter, in order.
    """
    embedded, count = linear(patches, encoder["patch"]), len(encoder["prefix"])
    if mask_token is not None:
        embedded = torch.stack([embedded[i] if i in visible else mask_token for i in range(len(patches))])
        visible = range(len(patches))
    of_patches = [embedded[i] + encoder["positions"][count + i] for i in visible]
    x = torch.cat([encoder["prefix"] + encoder["positions"][:count], torch.stack(of_patches)])
    after = []
    for block in encoder["blocks"]:
        x = transformer_block(x, block, encoder["heads"])
        after.append(x)
    return after, layer_norm(x, encoder["norm"])


def decode(tokens, decoder, visible, masked, wanted):
    """Predictions of the patches `wanted`: the sequence is the encoder's tokens and mask tokens of `masked`."""
    embedded = linear(tokens, decoder["embed"])
    count = len(tokens) - len(visible)
    positions = decoder["positions"]
    sequence = [embedded[i] + positions[i] for i in range(count)]
    sequence += [embedded[count + i] + positions[count + patch] for i, patch in enumerate(visible)]
    sequence += [decoder["mask_token"] + positions[count + patch] for patch in masked]
    x = torch.stack(sequence)
    for block in decoder["blocks"]:
        x = transformer_block(x, block, decoder["heads"])
    place = {patch: count + i for i, patch in enumerate([*visible, *masked])}
    return linear(layer_norm(torch.stack([x[place[patch]] for patch in wanted]), decoder["norm"]), decoder["head"])


def cross_decode(after, tokens, decoder, wanted, layers=None):
    """Predictions of the patches `wanted` by cross-attention to the encoder's tokens.

    With `layers`, counted from 1, each block attends to its own mixture of the tokens `after` these layers.
    """
    count = len(decoder["positions"]) - decoder["num_patches"]
    x = torch.stack([decoder["mask_token"] + decoder["positions"][count + patch] for patch in wanted])
    for number, block in enumerate(decoder["blocks"]):
        memory = tokens
        if layers is not None:
            mixed = sum(decoder["mix"][j, number] * after[layer - 1] for j, layer in enumerate(layers))
            memory = layer_norm(mixed, decoder["memory_norms"][number])
        x = x + attention(layer_norm(x, block["norm1"]), memory, block, decoder["heads"])
        x = x + mlp(layer_norm(x, block["norm2"]), block)
    return linear(layer_norm(x, decoder["norm"]), decoder["head"])


def mean_squared_error(predictions, targets):
    """Over the values of all patches of all examples, each a list of `(N, dim)`."""
    return torch.cat([(p - t).square() for p, t in zip(predictions, targets, strict=True)]).mean()


class Leaves:
    """Tensors in float64 that take gradients, one for each of our variables, by its path."""

    def __init__(self):
        self.by_path = {}

    def __call__(self, variable):
        if variable.path not in self.by_path:
            values = torch.tensor(variable.numpy(), dtype=torch.float64)
            self.by_path[variable.path] = values.requires_grad_(True)
        return self.by_path[variable.path]

    def gradients(self):
        """NumPy arrays by path, after `backward`; None where the loss does not depend on the variable."""
        return {path: None if x.grad is None else x.grad.numpy() for path, x in self.by_path.items()}
