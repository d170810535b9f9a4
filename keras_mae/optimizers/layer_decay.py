"""Layer-wise learning-rate decay."""

from __future__ import annotations

from keras_mae.optimizers.parameter_groups import depth_groups, names_of


def layer_decay_scales(model, decay: float) -> dict[str, float]:
    """The factor of each variable's learning rate: the closer to the input, the smaller.

    The stem (patch projection, tokens, positions) is layer 0, block `i` is layer `i + 1`, and the last norm with the
    head is layer `N + 1`; the scale of layer `l` is `decay ** (N + 1 - l)`, so that of the head is 1.

    Args:
        model: an `ImageClassifier`, or another model whose `layer_groups()` go from the input to the output.
        decay: in (0, 1]; the paper's fine-tuning has 0.65 for ViT-B, and 0.75 for ViT-L and ViT-H.

    Returns:
        The scale of each trainable variable by its name, see `names_of`, for `AdamW(learning_rate_scales=...)`.

    Raises:
        ValueError: for a decay outside of (0, 1], or if `layer_groups()` is not a partition of what is trained.

    Reference: arXiv 2003.10555 (ELECTRA), section 3.1; arXiv 2106.08254 (BEiT), table 9; arXiv 2111.06377, table 9.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layer-wise decay is a factor in (0, 1], got {decay!r}; 1 gives all layers the same rate")
    groups, names = depth_groups(model), names_of(model.trainable_variables)
    return {
        names[id(variable)]: decay ** (len(groups) - 1 - layer)
        for layer, group in enumerate(groups)
        for variable in group
    }
