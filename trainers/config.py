"""The config of a pretraining run, and every program's config as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from keras_mae.encoders.presets import of_this_version
from keras_mae.trainers import encoder_parts, model_parts
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.monitor_config import Evaluation
from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    Positive,
    Range,
    Rate,
    Share,
    ShareAbove0,
    ShareBelow1,
    hints_of,
    shown,
)
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import Config, kind_of, parts_of, registry_of
from keras_mae.trainers.training_parts import AdamWOptimizer, CroppedData, Run, Weights

if TYPE_CHECKING:
    from keras_mae.optimizers import WarmupCosine, WarmupMultiStep


@dataclasses.dataclass(frozen=True)
class PretrainData(CroppedData):
    """Images, cropped, mirrored and jittered at random.

    Attributes:
        jitter: largest relative change of brightness, contrast and saturation; 0 for none.
    """

    jitter: Share = 0.0


@dataclasses.dataclass(frozen=True)
class PretrainOptimizer(AdamWOptimizer):
    """AdamW.

    Attributes:
        milestones: epochs at which the learning rate, constant after the warm-up, falls to a tenth; None for half a
            cosine.
        layer_decay: factor of the learning rate from a layer of the encoder to the one below, and from the decoder to
            the encoder; None for one rate.
        frozen_epochs: epochs at the start in which the encoder stays as it is, and all else learns; then its learning
            rate rises for as long as the warm-up. None: a tenth of the epochs if `init` has an encoder and no decoder,
            else 0.
    """

    epochs: Count = 800
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 40.0
    batch_size: Annotated[int, Range(1, 2**24)] = 4096
    base_learning_rate: Rate = 1.5e-4
    beta_2: ShareBelow1 = 0.95
    milestones: tuple[Positive, ...] | None = None
    layer_decay: ShareAbove0 | None = None
    frozen_epochs: AtLeast0 | None = None

    def schedule(self, steps: int) -> WarmupCosine | WarmupMultiStep:
        """The learning rate by step, as `Optimizer.schedule`, or with drops at the milestones."""
        from keras_mae.optimizers import WarmupMultiStep

        if self.milestones is None:
            return super().schedule(steps)
        milestones = [round(epoch * steps) for epoch in self.milestones]
        return WarmupMultiStep(self.peak_learning_rate, round(self.warmup_epochs * steps), milestones)


@dataclasses.dataclass(frozen=True)
class PretrainRun(Run, Weights):
    """Computation and files of a run.

    Attributes:
        rematerialize: whether blocks compute their activations again for the gradient instead of keeping them: less
            memory, about a third more time.
        pictures_every: epochs between pictures of reconstructions.
        hours: hours in which the run ends, about: the speed of its first steps sets `epochs`, and scales all settings
            in epochs. None for the epochs as they are set.
    """

    rematerialize: bool = False
    pictures_every: Count = 20
    hours: Annotated[float, Range(0, 100_000, without=(0,))] | None = None


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Config):
    """A pretraining run. The defaults are the paper's recipe for ViT-B/16 (arXiv 2111.06377, table 8).

    Attributes:
        method: how patches are hidden and predicted.
        encoder: the network to pretrain.
        masking: which patches are masked.
        target: what is predicted for a masked patch.
        loss: between predictions and targets.
        decoder: the network that predicts; None for a method with its own.
        data: how images are decoded and augmented.
        optimizer: batches, steps and learning rate.
        run: how the run is computed and saved.
        evaluation: how features are measured while training.
    """

    program: ClassVar[str] = "pretrain"

    method: Annotated[Any, model_parts.METHODS] = model_parts.MAE()
    encoder: Annotated[Any, encoder_parts.ENCODERS] = encoder_parts.ViT()
    masking: Annotated[Any, model_parts.MASKING] = model_parts.Random()
    target: Annotated[Any, model_parts.TARGETS] = model_parts.Pixels()
    loss: Annotated[Any, model_parts.LOSSES] = model_parts.Loss()
    decoder: Annotated[Any, model_parts.DECODERS] = None
    data: PretrainData = PretrainData()
    optimizer: PretrainOptimizer = PretrainOptimizer()
    run: PretrainRun = PretrainRun()
    evaluation: Evaluation = Evaluation()


TrainingConfig = PretrainConfig | FinetuneConfig | ProbeConfig | SegmentConfig
AnyConfig = TrainingConfig | KnnConfig
CONFIGS: dict[str, Any] = {
    kind.program: kind for kind in (PretrainConfig, FinetuneConfig, SegmentConfig, ProbeConfig, KnnConfig)
}
_KIND = "kind"  # the key of a part's kind in `config.json`
_NEW = ("evaluation",)  # parts that configs of earlier versions lack: the defaults change no weights


def to_json(config: AnyConfig) -> dict[str, Any]:
    """The config as it is in `config.json`: the name of its program, and its parts with their kinds."""
    record: dict[str, Any] = {"program": config.program}
    for name, part in parts_of(config).items():
        kind = kind_of(config, name)
        record[name] = {**({} if kind is None else {_KIND: kind}), **dataclasses.asdict(part)}
    return record


def from_json(record: dict[str, Any]) -> AnyConfig:
    """The config in a record of `to_json`, whose tuples have become lists in JSON.

    Raises:
        ValueError: if the record is not a config, or is of another version; or for a setting that is out of range.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a config is an object of settings, got {shown(record)}")
    program = record.get("program")
    if not isinstance(program, str) or program not in CONFIGS:
        raise ValueError(f"the config is one of {program!r}; this version knows {', '.join(CONFIGS)}")
    hints, parts = hints_of(CONFIGS[program]), {}
    unknown = sorted(set(record) - set(hints) - {"program"})
    for name, hint in hints.items():
        if name not in record:
            continue
        if not isinstance(record[name], dict):
            raise ValueError(f"{name} is an object of settings, got {shown(record[name])}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record[name].items()
        }
        kinds = registry_of(hint)
        kind = hint if kinds is None else kinds[values.pop(_KIND, None)]
        values = of_this_version(values) if kind is encoder_parts.ViT else values
        unknown += [f"{name}.{key}" for key in sorted(set(values) - set(hints_of(kind)))]
        parts[name] = (kind, values)
    if unknown:
        raise ValueError(f"the config has settings that this version does not know: {', '.join(unknown)}")
    config = CONFIGS[program](**{name: kind(**values) for name, (kind, values) in parts.items()})
    lacking = [name for name in parts_of(config) if name not in (*parts, *_NEW)]
    if lacking:
        raise ValueError(f"the config lacks {', '.join(lacking)}: it is damaged, or another version has written it")
    return config
