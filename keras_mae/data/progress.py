"""The bar that shows how many images are done."""

from __future__ import annotations

from tqdm.auto import tqdm


def images_bar(total: int, done: int, description: str = "") -> tqdm:
    """A bar with images/s and the time that is left.

    Make it after the first batch, which is compiled: it would distort the rate.

    Args:
        total: the number of images.
        done: how many of them are done.
        description: stands before the bar.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=" images",
        unit_scale=True,
        bar_format="{desc} |{bar:20}| {percentage:3.0f}%  {rate_fmt}, {remaining} left",
        smoothing=0.05,
        mininterval=1.0,
        dynamic_ncols=True,
    )
