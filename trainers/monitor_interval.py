"""How often an evaluation pays: the epochs between two, from a count of multiplications."""

from __future__ import annotations

from keras_mae.decoders import CrossDecoder
from keras_mae.models.masked_image_model import MaskedImageModel

# Of a run's multiplications. On a processor an evaluation of digits took 1.3 times the time that its share would be,
# and its graph is made once: 3 % of the time together
SHARE = 0.02
_OF_ANY_SIZE = 10  # steps: so long an evaluation of a few images takes


def _passed(weights: int, layers: int, width: int, tokens: int) -> int:
    """Multiplications of a forward pass of an image: by the weights, and between the tokens of each layer."""
    return tokens * weights + 2 * layers * width * tokens**2


def image_costs(model: MaskedImageModel) -> tuple[int, int]:
    """Multiplications for an image: of the encoder on all patches, and of a training step.

    A step is three forward passes, one and twice as much for the gradients, of the encoder on the tokens that it sees
    and of the decoder.
    """
    encoder = model.encoder
    every = encoder.num_patches + encoder.num_prefix_tokens
    seen = every if model.mask_tokens_in_encoder else model.num_visible() + encoder.num_prefix_tokens
    own = (encoder.count_params(), encoder.num_layers, encoder.hidden_dim)
    return _passed(*own, every), 3 * (_passed(*own, seen) + _decoded(model, seen, every))


def _decoded(model: MaskedImageModel, seen: int, every: int) -> int:
    """Multiplications of the decoder's forward pass in a step."""
    decoder, masked = model.decoder, model.encoder.num_patches - model.num_visible()
    predicted = max(1, round(model.predict_ratio * masked)) if model.predict_ratio < 1 else masked
    weights, layers = decoder.count_params(), getattr(decoder, "num_layers", 0)
    width = getattr(decoder, "hidden_dim", 0)
    if not isinstance(decoder, CrossDecoder):
        return _passed(weights, layers, width, every if model.mask_tokens_in_encoder else every - masked + predicted)
    queries = model.encoder.num_patches if model.visible_weight else predicted
    of_memory = layers * 2 * width * model.encoder.hidden_dim  # the weights of keys and values
    return queries * (weights - of_memory) + seen * of_memory + 2 * layers * width * queries * seen


def cost_in_epochs(model: MaskedImageModel, images: int, steps: int, batch_size: int) -> float:
    """What an evaluation costs, as a share of an epoch: its multiplications, and what it takes whatever its size.

    Args:
        model: that is trained.
        images: that an evaluation encodes, every crop counted.
        steps, batch_size: of an epoch.
    """
    encoded, trained = image_costs(model)
    return images * encoded / (steps * batch_size * trained) + _OF_ANY_SIZE / steps


def interval(cost: float, epochs: int) -> int:
    """The fewest epochs between evaluations that together cost at most `SHARE` of the run; 0 if one costs more.

    It depends on nothing that is measured, so that a run stays a function of its config and its data.

    Args:
        cost: of an evaluation, in epochs.
        epochs: of the run; the last one is evaluated, too.
    """
    for every in range(1, epochs + 1):
        if -(-epochs // every) * cost <= SHARE * epochs:
            return every
    return 0
