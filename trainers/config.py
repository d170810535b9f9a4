"""What a run is made of, as one frozen, typed record, and how the command line changes it."""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from keras_mae.trainers.finetune_config import FinetuneConfig
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.probe_config import ProbeConfig
from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    DtypePolicy,
    Layers,
    Level,
    Megapixels,
    Method,
    Pixels,
    Positive,
    Preset,
    Range,
    Rate,
    Sampler,
    Seed,
    Share,
    ShareAbove0,
    ShareBelow1,
    Target,
    check_fields,
    check_value,
    fits,
    hints_of,
    names_of,
    shown,
)


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """A pretraining run. The defaults are the paper's recipe for ViT-B/16 (arXiv 2111.06377, table 8).

    Attributes:
        method: `mae`, a `MaskedAutoencoder`, or `simmim`, a `SimMIM`, which has no decoder to choose.
        preset: the encoder's size, such as `vit_base_patch16`.
        image_size: height and width of the images that the model sees, in pixels.
        channels: how many the images are read with; other than 1 and 3, `mean` and `std` have as many.
        patch_size: height and width of a patch in pixels.
        hidden_dim, num_layers, num_heads: in place of the preset's, if not None.
        use_cls_token, position_embedding, position_temperature: of the encoder, see `ViTEncoder`; the decoder's
            positions are of the same kind, or sin-cos for an encoder without.
        relative_position_bias, layer_scale, drop_path_rate: of the encoder, see `ViTEncoder`.
        mean, std: pixel normalisation, a number a channel; None for ImageNet's (three channels) or 0.5.
        decoder_hidden_dim, decoder_num_layers, decoder_num_heads: the decoder's size.
        mask_tokens_in_encoder: whether the encoder sees mask tokens, see `MaskedAutoencoder`.
        sampler: which patches are masked: `random`, `units` (`UnitMasking`), `blocks` (`BlockMasking`) or `grid`.
        mask_ratio: share of the patches that is masked.
        mask_unit: of the sampler `units`, in pixels; None for its own default.
        target: what is predicted: `pixels`, `pca` (fitted before the first step) or `tokens`.
        normalize_target: of `pixels`: whether each patch is normalised by its own mean and variance.
        pca_components: of `pca`: how many coefficients.
        tokenizer, vocabulary_size: of `tokens`: the folder of a SavedModel, and how many tokens it has, see
            `TokenTarget`.
        epochs: passes over the images.
        warmup_epochs: of these, how many the learning rate takes to rise from 0.
        milestones: None for half a cosine after that, or the epochs from which on the learning rate, constant
            otherwise, is a tenth of what it was.
        batch_size: images in a step.
        base_learning_rate: for 256 images; the peak is `base_learning_rate * batch_size / 256`.
        weight_decay: AdamW's; biases, norms and tokens are not decayed.
        beta_2: AdamW's second moment.
        crop_scale: area of the random resized crop, as shares of the image's; None for no random crop.
        flip: whether half of the images are mirrored.
        jitter: by which share brightness, contrast and saturation vary; 0 for not.
        crop_ratio: of the evaluation transform: images are scaled to `image_size / crop_ratio`, then cut.
        background: what is seen through transparent pixels: a gray level in [0, 255].
        max_megapixels: images of more are refused before they are decoded.
        dtype_policy: `float32`, `mixed_bfloat16` or `mixed_float16`.
        jit_compile: whether XLA compiles the step; None leaves it to Keras: yes with an accelerator, no without. On
            a processor it pays for small models.
        accumulation_steps: in how many parts a replica takes its share of a batch, to save memory.
        clip_norm: bound on the gradient's global norm, or None.
        rematerialize: whether blocks compute their activations a second time instead of keeping them: less memory,
            about a third more time.
        max_skipped_steps: so many steps in a row may be skipped because their loss or gradient is not finite.
        checkpoint_steps, checkpoint_minutes: steps and minutes between checkpoints within an epoch, or None; each
            epoch ends with one.
        pictures_every: epochs between pictures of reconstructions.
        check_memory: whether a run that needs more memory than there is is refused before it starts.
        seed: what every random number is a function of.
    """

    program: ClassVar[str] = "pretrain"

    method: Method = "mae"
    preset: Preset = "vit_base_patch16"
    image_size: tuple[Pixels, Pixels] = (224, 224)
    channels: Pixels = 3
    patch_size: tuple[Pixels, Pixels] = (16, 16)
    hidden_dim: Pixels | None = None
    num_layers: Layers | None = None
    num_heads: Pixels | None = None
    use_cls_token: bool = True
    position_embedding: Literal["sincos", "learned"] | None = "sincos"
    position_temperature: Positive = 10000.0
    relative_position_bias: Literal["shared", "per_block"] | None = None
    layer_scale: AtLeast0 | None = None
    drop_path_rate: ShareBelow1 = 0.0
    mean: tuple[Share, ...] | None = None
    std: tuple[ShareAbove0, ...] | None = None
    decoder_hidden_dim: Pixels = 512
    decoder_num_layers: Layers = 8
    decoder_num_heads: Pixels = 16
    mask_tokens_in_encoder: bool = False
    sampler: Sampler = "random"
    mask_ratio: Annotated[float, Range(0, 1, without=(0, 1))] = 0.75
    mask_unit: Pixels | None = None
    target: Target = "pixels"
    normalize_target: bool = True
    pca_components: Count = 96
    tokenizer: str | None = None
    vocabulary_size: Annotated[int, Range(2, 1_000_000_000)] | None = None
    epochs: Count = 800
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 40.0
    milestones: tuple[Positive, ...] | None = None
    batch_size: Annotated[int, Range(1, 2**24)] = 4096
    base_learning_rate: Rate = 1.5e-4
    weight_decay: Annotated[float, Range(0, 1000)] = 0.05
    beta_2: ShareBelow1 = 0.95
    crop_scale: tuple[ShareAbove0, ShareAbove0] | None = (0.2, 1.0)
    flip: bool = True
    jitter: Share = 0.0
    crop_ratio: ShareAbove0 = 0.875
    background: Level = 255
    max_megapixels: Megapixels = 100.0
    dtype_policy: DtypePolicy = "float32"
    jit_compile: bool | None = None
    accumulation_steps: Count = 1
    clip_norm: Positive | None = None
    rematerialize: bool = False
    check_memory: bool = True
    max_skipped_steps: Count = 20
    checkpoint_steps: Count | None = None
    checkpoint_minutes: AtLeast0 | None = 15.0
    pictures_every: Count = 20
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return (*self.image_size, self.channels)

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up, by the linear scaling rule."""
        return self.base_learning_rate * self.batch_size / 256


# What other libraries call a setting
_ELSEWHERE = {
    "lr": "base_learning_rate",
    "learning_rate": "base_learning_rate",
    "blr": "base_learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "wd": "weight_decay",
    "warmup": "warmup_epochs",
    "depth": "num_layers",
    "embed_dim": "hidden_dim",
    "size": "image_size",
    "img_size": "image_size",
    "num_epochs": "epochs",
    "model": "preset",
    "accum_iter": "accumulation_steps",
}

AnyConfig = PretrainConfig | FinetuneConfig | ProbeConfig | KnnConfig
Config = TypeVar("Config", PretrainConfig, FinetuneConfig, ProbeConfig, KnnConfig)


def changed(config: Config, settings: list[str]) -> Config:
    """The config with `key=value` settings put in, each parsed by the field's type; errors as `parsed` says."""
    return dataclasses.replace(config, **parsed(settings, hints_of(type(config))))


def parsed(settings: list[str], hints: dict[str, Any]) -> dict[str, Any]:
    """The values of `key=value` settings, each parsed by the type that `hints` has for its key.

    Raises:
        ValueError: for an unknown key (the near ones are shown), or a value of another type or out of range.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ValueError(f"a setting is written key=value, got {shown(setting)}; such as --set {setting_like(key)}")
        if key not in hints:
            near = near_settings(key, hints)
            hint = (
                f"; did you mean {' or '.join(near)}? Type --set {near[0]}={text}. There are:"
                if near
                else "; there are:"
            )
            raise ValueError(f"there is no setting {shown(key)}{hint} {', '.join(hints)}")
        values[key] = _parse(key, text, hints[key])
        check_value(key, values[key], hints[key], text)
    return values


def near_settings(word: str, known: Iterable[str]) -> list[str]:
    """The settings that are like a word, or that it means elsewhere."""
    word, known = word.lower().replace("-", "_"), list(known)
    if _ELSEWHERE.get(word) in known:
        return [_ELSEWHERE[word]]
    return difflib.get_close_matches(word, known, n=3, cutoff=0.4)


def setting_like(key: str) -> str:
    """What one may type of a setting whose value was left out."""
    return f"{key}=..." if key.isidentifier() else "batch_size=64"


def to_json(config: AnyConfig) -> dict[str, Any]:
    """The config as `config.json` has it, with the name of its program."""
    return {"program": config.program, **dataclasses.asdict(config)}


def from_json(record: dict[str, Any]) -> AnyConfig:
    """The config that was written as JSON, where tuples became lists.

    Raises:
        ValueError: if it is none, or of another version; or for a setting that is out of range.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a config is an object of settings, got {shown(record)}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    program = values.pop("program", PretrainConfig.program)  # runs of 0.1.0 are pretraining, and do not say so
    kinds = {kind.program: kind for kind in (PretrainConfig, FinetuneConfig, ProbeConfig, KnnConfig)}
    if not isinstance(program, str) or program not in kinds:
        raise ValueError(f"the config is one of {program!r}; this version knows {', '.join(kinds)}")
    unknown = set(values) - {field.name for field in dataclasses.fields(kinds[program])}
    if unknown:
        raise ValueError(f"the config has settings that this version does not know: {', '.join(sorted(unknown))}")
    return kinds[program](**values)


def _parse(key: str, text: str, hint: Any) -> Any:
    if names_of(hint) or fits("text", hint, with_range=False):  # a name or a path may look like a number
        return None if text == "None" and fits(None, hint) else text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that it raises
        return text
