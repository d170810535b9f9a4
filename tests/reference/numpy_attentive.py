"""Attentive pooling in NumPy, query by query and token by token, in float64: written from arXiv 2506.10178."""

import numpy as np


def attentive_pooling(tokens, queries, values):
    """One image's patch tokens `(N, D)`, queries `(M, D)` and value matrix `(D, D)`, inputs first.

    Returns the pooled vector `(D,)` and the attention `(M, N)`.
    """
    tokens, queries, values = (np.asarray(array, "float64") for array in (tokens, queries, values))
    count, dim = tokens.shape
    share = dim // len(queries)
    projected = np.stack([token @ values for token in tokens])  # (N, D)
    pooled, attention = [], []
    for number, query in enumerate(queries):
        logits = np.array([query @ token / np.sqrt(dim) for token in tokens])
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        own = projected[:, number * share : (number + 1) * share]  # (N, D / M)
        pooled.append(sum(weights[index] * own[index] for index in range(count)))
        attention.append(weights)
    return np.concatenate(pooled), np.stack(attention)
