"""What a run is made of, as one frozen, typed record, and how the command line changes it."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import types
import typing
from typing import Any, ClassVar, TypeVar

from keras_mae.trainers.finetune_config import FinetuneConfig
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.probe_config import ProbeConfig


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
        sampler: which patches are masked: `random`, `units` (`BlockMasking`), `blocks` (`BlockwiseMasking`) or `grid`.
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
        seed: what every random number is a function of.
    """

    program: ClassVar[str] = "pretrain"

    method: str = "mae"
    preset: str = "vit_base_patch16"
    image_size: tuple[int, int] = (224, 224)
    channels: int = 3
    patch_size: tuple[int, int] = (16, 16)
    hidden_dim: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    use_cls_token: bool = True
    position_embedding: str | None = "sincos"
    position_temperature: float = 10000.0
    relative_position_bias: str | None = None
    layer_scale: float | None = None
    drop_path_rate: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    decoder_hidden_dim: int = 512
    decoder_num_layers: int = 8
    decoder_num_heads: int = 16
    mask_tokens_in_encoder: bool = False
    sampler: str = "random"
    mask_ratio: float = 0.75
    mask_unit: int | None = None
    target: str = "pixels"
    normalize_target: bool = True
    pca_components: int = 96
    tokenizer: str | None = None
    vocabulary_size: int | None = None
    epochs: int = 800
    warmup_epochs: float = 40.0
    milestones: tuple[float, ...] | None = None
    batch_size: int = 4096
    base_learning_rate: float = 1.5e-4
    weight_decay: float = 0.05
    beta_2: float = 0.95
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    flip: bool = True
    jitter: float = 0.0
    crop_ratio: float = 0.875
    background: int = 255
    max_megapixels: float = 100.0
    dtype_policy: str = "float32"
    jit_compile: bool | None = None
    accumulation_steps: int = 1
    clip_norm: float | None = None
    rematerialize: bool = False
    max_skipped_steps: int = 20
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = 15.0
    pictures_every: int = 20
    seed: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return (*self.image_size, self.channels)

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up, by the linear scaling rule."""
        return self.base_learning_rate * self.batch_size / 256


AnyConfig = PretrainConfig | FinetuneConfig | ProbeConfig | KnnConfig
Config = TypeVar("Config", PretrainConfig, FinetuneConfig, ProbeConfig, KnnConfig)


def changed(config: Config, settings: list[str]) -> Config:
    """The config with `key=value` settings put in, each parsed by the field's type; errors as `parsed` says."""
    hints = typing.get_type_hints(type(config))
    hints = {field.name: hints[field.name] for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **parsed(settings, hints))


def parsed(settings: list[str], hints: dict[str, Any]) -> dict[str, Any]:
    """The values of `key=value` settings, each parsed by the type that `hints` has for its key.

    Raises:
        ValueError: for an unknown key (the near ones are shown), or a value of another type.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"a setting is written key=value, got {setting!r}")
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"there is no setting {key!r}{hint} There are: {', '.join(hints)}")
        values[key] = _parse(key, text, hints[key])
    return values


def to_json(config: AnyConfig) -> dict[str, Any]:
    """The config as `config.json` has it, with the name of its program."""
    return {"program": config.program, **dataclasses.asdict(config)}


def from_json(record: dict[str, Any]) -> AnyConfig:
    """The config that was written as JSON, where tuples became lists."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    program = values.pop("program", PretrainConfig.program)  # runs of 0.1.0 are pretraining, and do not say so
    kinds = {kind.program: kind for kind in (PretrainConfig, FinetuneConfig, ProbeConfig, KnnConfig)}
    if program not in kinds:
        raise ValueError(f"the config is one of {program!r}; this version knows {', '.join(kinds)}")
    unknown = set(values) - {field.name for field in dataclasses.fields(kinds[program])}
    if unknown:
        raise ValueError(f"the config has settings that this version does not know: {', '.join(sorted(unknown))}")
    return kinds[program](**values)


def _parse(key: str, text: str, hint: Any) -> Any:
    if hint is str:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if not _fits(value, hint):
        name = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
        raise ValueError(f"{key} is of type {name}, got {text!r}")
    return value


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if not isinstance(value, tuple) or (items[-1] is not Ellipsis and len(value) != len(items)):
            return False
        return all(_fits(item, items[0]) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint
