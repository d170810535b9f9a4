"""AdamW as transformers are trained with it."""

from __future__ import annotations

import keras


def adamw(
    model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = 0.05,
    beta_2: float = 0.95,
) -> keras.optimizers.AdamW:
    """AdamW with no decay on what `model.no_weight_decay()` names: biases, norms, tokens, position embeddings.

    (Keras' `exclude_from_weight_decay(var_names=...)` matches a variable's name, not its path, and ignores what it
    does not find; variables themselves are passed here.)

    Args:
        model: any of the models of this package.
        learning_rate: a number or a schedule.
        weight_decay: decoupled, multiplied by the learning rate.
        beta_2: decay of the second moment; MAE pretrains with 0.95.

    Reference: arXiv 1711.05101; arXiv 2111.06377, table 8.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, beta_1=0.9, beta_2=beta_2, epsilon=1e-8
    )
    optimizer.exclude_from_weight_decay(var_list=model.no_weight_decay())
    return optimizer
