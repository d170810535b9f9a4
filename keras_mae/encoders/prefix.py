"""The tokens of a Vision Transformer that belong to no patch."""

from __future__ import annotations


def prefix_sizes(num_cls_tokens: int, num_registers: int, num_prefix_positions: int | None) -> tuple[int, int]:
    """The number of prefix tokens, and of those that have a position.

    Args:
        num_cls_tokens, num_registers, num_prefix_positions: see `ViTEncoder`.

    Raises:
        ValueError: for a negative number, or positions of some registers or class tokens alone.
    """
    for name, count in (("num_cls_tokens", num_cls_tokens), ("num_registers", num_registers)):
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"{name} is an integer from 0, got {count!r}")
    both = num_cls_tokens + num_registers
    positions = num_cls_tokens if num_prefix_positions is None else num_prefix_positions
    if positions not in (0, num_cls_tokens, both):
        allowed = ", ".join(map(str, dict.fromkeys((0, num_cls_tokens, both))))
        raise ValueError(
            f"num_prefix_positions is 0, the number of class tokens, or that of class tokens and registers ({allowed} "
            f"here), or None; got {num_prefix_positions!r}"
        )
    return both, positions
