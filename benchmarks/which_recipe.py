"""What `--recipe=auto` chooses for typical images and machines: the table in docs/which_recipe.md.

`python -m benchmarks.which_recipe` prints it; tests/benchmarks/test_which_recipe.py holds the page to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from keras_mae.trainers.auto_choice import choose
from keras_mae.trainers.auto_facts import Facts, memory_of_run, seconds_of_run

# Products and element-wise functions as two cores with AVX-512 and an H200 compute them; free memory of a laptop
MACHINES = {
    "2 cores": Facts(
        1, 1, 1, memory=12 * 10**9, taken=10**9, processors=2, products=1.5e11, numbers=2e9,
    ),
    "H200": Facts(
        1, 1, 1, memory=139 * 10**9, processors=16, accelerator=True, dtype_policy="mixed_bfloat16", products=6e14,
        numbers=4e11,
    ),
}  # fmt: skip
GRAY = {"channels": 1, "mean": (0.3,), "std": (0.2,)}
IMAGES = {
    "digits, 28 px": {"height": 28, "width": 28, "same_size": True, "flat": 0.6, **GRAY},
    "images of 13 channels, 64 px": {
        "height": 64, "width": 64, "same_size": True, "channels": 13, "bits": 16,
        "mean": (0.1,) * 13, "std": (0.1,) * 13,
    },
    "photographs": {"height": 375, "width": 375, "reading": 0.004},
    "16-bit TIFFs, 2,000 px": {"height": 2000, "width": 2000, "bits": 16, "reading": 0.08, **GRAY},
}  # fmt: skip
CASES = (
    ("2 cores", "digits, 28 px", 80),
    ("2 cores", "digits, 28 px", 4_000),
    ("2 cores", "images of 13 channels, 64 px", 500),
    ("2 cores", "photographs", 60),
    ("2 cores", "photographs", 2_000),
    ("2 cores", "photographs", 20_000),
    ("2 cores", "16-bit TIFFs, 2,000 px", 300),
    ("H200", "photographs", 2_000),
    ("H200", "photographs", 20_000),
    ("H200", "photographs", 200_000),
    ("H200", "photographs", 1_281_167),
)


def rows() -> Iterator[str]:
    """The rows of the table, with its head."""
    yield "| machine | images | encoder | image, patch | batch | epochs | hours | memory |"
    yield "|---|---|---|---|---|---|---|---|"
    for machine, images, count in CASES:
        facts = dataclasses.replace(MACHINES[machine], num_images=count, **IMAGES[images])
        config = choose(facts).config
        encoder, optimizer = config.encoder, config.optimizer
        seconds, memory = seconds_of_run(config, facts) or 0.0, memory_of_run(config, facts) or 0
        yield (
            f"| {machine} | {count:,} {images} | {encoder.hidden_dim} x {encoder.num_layers} "
            f"| {encoder.image_size[0]}, {encoder.patch_size[0]} | {optimizer.batch_size} "
            f"| {optimizer.epochs}{' (hours=%g)' % config.run.hours if config.run.hours else ''} "
            f"| {seconds / 3600:.1f} | {max(memory / 1e9, 0.1):.1f} GB |"
        )


if __name__ == "__main__":
    print("\n".join(rows()))
