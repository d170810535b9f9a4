"""The settings that `--recipe=auto` chooses: a function of facts about images and machine, and of what is given.

Sizes and rates come from runs that were measured, here or in papers; each rule says from which. Neither TensorFlow nor
Keras is imported, so that settings that cannot work are refused before they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_mae.encoders.presets import PRESETS
from keras_mae.trainers.auto_facts import COMPILED, Facts, memory_of_run, seconds_of_run
from keras_mae.trainers.auto_sizes import SIZES, Size
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.ranges import LARGEST_COUNT
from keras_mae.trainers.settings import names_in, replaced, short_names, values_of

EVENING, DAY = 4.0, 24.0  # hours that a run takes at most, on a processor and on accelerators
_LARGEST = 224  # pixels: the papers' images
_GRID = 14  # patches along a side: the papers', 224 / 16
_SMALL_GRID = 12  # the largest grid on which waves of temperature 10 were tried, in mae_images_96
_ROOM = 0.8  # of the free memory: other programs want some, and the estimate is one
_MEASURED_STEPS = 6000  # mae_digits takes 6,720, with the accuracy in docs/results.md
_SEEN_IMAGES = 1_900_000  # the smallest published run with good features: 9,469 images of Imagenette for 200 epochs
_FEWEST_EPOCHS, _MOST_EPOCHS = 200, 2000  # the guidance of LightlyTrain for less than 100,000 images
_FEWER = ((10_000_000, 5), (100_000, 100))  # its fewest epochs for more images than these
_MUCH = 0.2  # of the area has no contrast: of digits two thirds, of photographs next to nothing
_SMALLEST_BATCH = 16  # mae_digits has 25
_OF_THE_PAPER = 1_000_000  # images from which on the paper's schedule of 800 epochs was run


class Reason(NamedTuple):
    """A choice and why it was made.

    Attributes:
        setting: `key=value`, as `--set` takes it; several are separated by spaces.
        why: a few words.
    """

    setting: str
    why: str


class Chosen(NamedTuple):
    """What was chosen.

    Attributes:
        config: of a run.
        reasons: of each choice, in the order in which they were made.
    """

    config: PretrainConfig
    reasons: tuple[Reason, ...]


def choose(facts: Facts, given: Mapping[str, Any] | None = None) -> Chosen:
    """Chooses the settings of a pretraining run.

    The size of the encoder follows from the number of patches in all images. It is smaller where the epochs for that
    size would take longer than an evening on a processor, or a day on accelerators. Where even the smallest would, the
    setting `hours` limits the run to that time.

    Args:
        facts: of images and machine.
        given: settings that are not to be chosen, as for `keras_mae.trainers.settings.replaced`; what depends on them
            follows.

    Raises:
        ValueError: for a setting that does not exist or is out of range, or an encoder that is no `vit`.
    """
    given = dict(given or {})
    for name in {"dtype_policy", "run.dtype_policy"} & set(given):
        if given[name] == "auto":  # which is to choose it
            del given[name]
    choices = _Choices(given)
    if not isinstance(choices.config.encoder, ViT):
        raise ValueError(
            "--recipe=auto chooses the sizes of encoder=vit; name a recipe for another encoder, see keras-mae recipes"
        )
    _see_images(choices, facts)
    limit = 3600 * (choices.config.run.hours or (DAY if facts.accelerator else EVENING))
    sizes = _sizes(choices, facts)
    for size in sizes:
        tried = choices.copy()
        _take_size(tried, size, smaller_than=sizes[0])
        _compute(tried, facts)
        _schedule(tried, size, facts)
        _fit_memory(tried, facts)
        seconds = seconds_of_run(tried.config, facts) or 0.0
        epochs = tried.config.optimizer.epochs
        fewest = next((fewest for images, fewest in _FEWER if facts.num_images >= images), _FEWEST_EPOCHS)
        share = 1.0 if "optimizer.epochs" in tried.given else min(fewest / epochs, 1.0)
        if share * seconds <= limit:
            break
    if "optimizer.epochs" not in tried.given and ("run.hours" in tried.given or seconds > limit):
        fitting = min(max(1, int(epochs * limit / seconds)), LARGEST_COUNT) if seconds else epochs
        if seconds > limit:
            why = f"{epochs} epochs would take about {_hours(seconds)}"
            tried.take(f"{why}; the first steps tell how many fit", hours=limit / 3600)
        tried.take("about what fits", epochs=fitting, warmup_epochs=_warmup(fitting))
    return Chosen(tried.config, tuple(tried.reasons.values()))


def _see_images(choices: _Choices, facts: Facts) -> None:
    """Chooses channels, image size, patches, statistics, target and augmentation."""
    given = choices.config.encoder
    statistics = given.mean or given.std
    channels = len(statistics) if statistics else facts.channels
    choices.take("as the images have" if channels > 1 else "the images are gray", channels=channels)
    height, width = facts.height, facts.width
    square = min(height, width)
    if facts.same_size and max(height, width) <= 4 * square:
        shape, size = (height, width), "of the images"
    else:
        shape, size = (square, square), "nine of ten images are as large"
    scale = min(1.0, _LARGEST / math.sqrt(shape[0] * shape[1]))
    if scale < 1:
        shape, size = (
            (round(shape[0] * scale), round(shape[1] * scale)),
            f"the papers'; the images are {height} x {width}",
        )
    if "encoder.image_size" in choices.given:
        shape = given.image_size
    # the largest grid that was tried: of 14 x 14 patches, or for small images of 4 x 4 pixels
    patch = next((side for side in (4, 8) if max(shape) < side * (_GRID + 2)), 16)
    if "encoder.image_size" in choices.given:  # which stays: patches of about this size divide it
        patch = next((s for s in range(patch, patch // 2 - 1, -1) if not any(length % s for length in shape)), patch)
    patches = (min(patch, shape[0]), min(patch, shape[1]))
    if "encoder.patch_size" in choices.given:
        patches = given.patch_size
    fitted = tuple(max(p, s // p * p) for s, p in zip(shape, patches, strict=True))
    choices.take(size, image_size=fitted)
    grid = tuple(s // p for s, p in zip(choices.config.encoder.image_size, patches, strict=True))
    choices.take(f"a grid of {grid[0]} x {grid[1]}", patch_size=patches)
    if max(grid) <= _SMALL_GRID:
        choices.take("for a small grid, as in mae_digits", position_temperature=10.0)
    if facts.mean is not None and facts.std is not None and not statistics:
        choices.take("measured: the images are no 8-bit photographs in colour", mean=facts.mean, std=facts.std)
    if facts.flat > _MUCH and "target.normalize_target" in values_of(choices.config):
        why = f"{facts.flat:.0%} of the area has no contrast, which normalising would blow up, as in mae_digits"
        choices.take(why, normalize_target=False)
    sides = zip((height, width), choices.config.encoder.image_size, strict=True)
    near = min(own / of_model for own, of_model in sides) < 1.15
    choices.take(
        "images are about as large as the model's" if near else "as in the paper", crop_ratio=1.0 if near else 0.875
    )
    if near and facts.flat > _MUCH:
        why = "small things on an empty ground: of 4,000 digits kNN was 92.1 % without crops, 83.1 with"
        choices.take(why, crop_scale=None)
    else:
        choices.take("crops of any size help, arXiv 2111.06377, table 1e", crop_scale=(0.2, 1.0))
    why = "whether mirrored images are still like yours is not known: text and X-rays are not; True if they are"
    choices.take(why, flip=False)


def _sizes(choices: _Choices, facts: Facts) -> list[Size]:
    """The sizes to try: the one for so many patches, and smaller ones; or the one that is given."""
    encoder = choices.config.encoder
    if not {"encoder.preset", "encoder.hidden_dim", "encoder.num_layers"} & choices.given:
        count = _patches(choices.config) * facts.num_images
        return [size for size in reversed(SIZES) if size.patches <= count]
    preset = PRESETS[encoder.preset]
    if "encoder.preset" not in choices.given:
        preset = {"hidden_dim": SIZES[0].width, "num_layers": SIZES[0].layers, "num_heads": SIZES[0].heads}
    width = encoder.hidden_dim or preset["hidden_dim"]
    near = max((size for size in SIZES if size.width <= width), key=lambda size: size.width, default=SIZES[0])
    heads = encoder.num_heads or (preset["num_heads"] if width == preset["hidden_dim"] else max(1, width // 64))
    name = encoder.preset if "encoder.preset" in choices.given else near.preset
    source = "follows from the size that is given"
    return [near._replace(preset=name, width=width, layers=preset["num_layers"], heads=heads, source=source)]


def _take_size(choices: _Choices, size: Size, smaller_than: Size) -> None:
    why = size.source
    if size.width < smaller_than.width or size.layers < smaller_than.layers:
        why += f"; {smaller_than.width} x {smaller_than.layers} would take too long here"
    choices.take(why, preset=size.preset, **_sizes_of("encoder", size.width, size.layers, size.heads))
    if choices.config.decoder is not None:
        choices.take("goes with this encoder", **_sizes_of("decoder", *size.decoder))


def _sizes_of(part: str, width: int, layers: int, heads: int) -> dict[str, int]:
    return {f"{part}.hidden_dim": width, f"{part}.num_layers": layers, f"{part}.num_heads": heads}


def _compute(choices: _Choices, facts: Facts) -> None:
    """Chooses the precision, and whether XLA compiles the step."""
    if not facts.accelerator and facts.replicas == 1 and choices.config.encoder.hidden_dim <= SIZES[1].width:
        choices.take("speeds up small models on a processor, as in mae_digits", jit_compile=True)
    if not facts.accelerator and choices.config.run.jit_compile and facts.dtype_policy != "float32":
        choices.take(COMPILED, dtype_policy="float32")
    else:
        choices.take(facts.dtype_why, dtype_policy=facts.dtype_policy)


def _schedule(choices: _Choices, size: Size, facts: Facts) -> None:
    """Chooses epochs, warm-up, batch and learning rate."""
    count = facts.num_images
    epochs = min(max(round(_SEEN_IMAGES / count), _FEWEST_EPOCHS), _MOST_EPOCHS)
    why = {_FEWEST_EPOCHS: "the fewest that is advised for less than 100,000 images", _MOST_EPOCHS: "the most advised"}
    why_epochs = why.get(epochs, "as many images are seen as in the smallest good published run")
    if count >= _OF_THE_PAPER:
        epochs, why_epochs = 800, "the paper's"
    choices.take(why_epochs, epochs=epochs)
    epochs = choices.config.optimizer.epochs
    choices.take("a twentieth, as in the paper", warmup_epochs=_warmup(epochs))
    # few steps teach little, so a small set, or a short run, has small batches; 64 in an epoch as in mae_digits (160)
    most = min(count / 64, epochs * count / _MEASURED_STEPS, 4096)
    batch = min(max(2 ** int(math.log2(max(most, 1))), _SMALLEST_BATCH), count)
    parts = facts.replicas * choices.config.optimizer.accumulation_steps  # 1 of these unless they are given
    batch = max(batch // parts, 1) * parts
    choices.take(f"{max(count // batch, 1)} steps an epoch", batch_size=batch)
    if size.peak is not None:
        base = float(f"{size.peak * 256 / choices.config.optimizer.batch_size:.4g}")
        choices.take(f"a peak of {size.peak:g}, as in the run of this size", base_learning_rate=base)


def _fit_memory(choices: _Choices, facts: Facts) -> None:
    """Computes a batch in parts, then keeps less, until a step fits."""
    while facts.memory is not None and choices.unfitting(facts):
        config = choices.config
        share, parts = config.optimizer.batch_size // facts.replicas, config.optimizer.accumulation_steps
        more = next((n for n in range(parts + 1, share + 1) if share % n == 0), None)
        why = f"{facts.memory / 1e9:.1f} GB are free"
        if more is not None and "optimizer.accumulation_steps" not in choices.given:
            choices.take(why, accumulation_steps=more)
        elif not config.run.rematerialize and "run.rematerialize" not in choices.given:
            choices.take(why, rematerialize=True)
        else:
            return  # the check of the memory, which every run passes, says so


def given_names(given: Mapping[str, Any]) -> frozenset[str]:
    """The full names of given settings, kinds of parts left out."""
    config = replaced(PretrainConfig(), **given)
    kinds = {name for name in values_of(config) if "." not in name}
    return frozenset(names_in(config, [f"{name}=" for name in given if name not in kinds]))


def _patches(config: PretrainConfig) -> int:
    """Patches of an image."""
    sides = zip(config.encoder.image_size, config.encoder.patch_size, strict=True)
    return math.prod(side // patch for side, patch in sides)


def _warmup(epochs: int) -> float:
    return round(epochs / 20, 2)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


class _Choices:
    """A config in the making, with the reasons of its choices; what is given stays as it is."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.config = replaced(PretrainConfig(), **given)
        self.given = given_names(given)
        self.reasons: dict[str, Reason] = {}

    def copy(self) -> _Choices:
        other = object.__new__(type(self))
        other.config, other.given, other.reasons = self.config, self.given, dict(self.reasons)
        return other

    def take(self, why: str, **settings: Any) -> None:
        """Sets those of the settings that are not given, and notes the reason."""
        full = {name: next(iter(names_in(self.config, [f"{name}="]))) for name in settings}
        free = {name: value for name, value in settings.items() if full[name] not in self.given}
        self.config = replaced(self.config, **free)
        self._note([full[name] for name in free], why)
        self._note([full[name] for name in settings if name not in free], "set by you")

    def _note(self, names: list[str], why: str) -> None:
        if names:
            values, short = (
                values_of(self.config),
                dict(zip(values_of(self.config), short_names(self.config), strict=True)),
            )
            shown = " ".join(f"{short[name]}={str(values[name]).replace(' ', '')}" for name in names)
            again = [key for key in self.reasons if set(key.split()) <= set(names)]
            for key in again:  # chosen anew
                del self.reasons[key]
            self.reasons[" ".join(names)] = Reason(shown, why)

    def unfitting(self, facts: Facts) -> bool:
        """Whether a step needs more memory than there is."""
        needed = memory_of_run(self.config, facts)
        return needed is not None and facts.memory is not None and needed - facts.taken > _ROOM * facts.memory
