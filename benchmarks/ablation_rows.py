"""The rows of the ablation table: what each changes, and what the MAE paper found for it."""

from __future__ import annotations

import dataclasses

from keras_mae.encoders import presets
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import changed

BASELINE = "baseline"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table; it is compared with the baseline.

    Attributes:
        name: of the row, and of its folder.
        table: where the paper has it.
        settings: `key=value` changes of the recipe; `{whole}` and `{quarter}` stand for the encoder's width and a
            quarter of it, `{eighth}` for an eighth of the values in a patch.
        paper: the paper's linear probes without and with this change, ViT-L on ImageNet, 800 epochs; None if it gives
            no numbers.
        paper_sign: where it gives none, whether it finds the change better (1), worse (-1), or does not say (0).
        num_trainable_layers: None, or fine-tune so many of the baseline's last blocks in place of pretraining.
    """

    name: str
    table: str = ""
    settings: tuple[str, ...] = ()
    paper: tuple[float, float] | None = None
    paper_sign: int = 0
    num_trainable_layers: float | None = None

    @property
    def expected_sign(self) -> int:
        """The sign of the change in the paper; 0 if there is none."""
        if self.paper is None:
            return self.paper_sign
        return (self.paper[1] > self.paper[0]) - (self.paper[1] < self.paper[0])

    def config(self, base: PretrainConfig, seed: int) -> PretrainConfig:
        """The pretraining run of this row."""
        width = base.encoder.hidden_dim or presets.VIT_PRESETS[base.encoder.preset]["hidden_dim"]
        values = base.encoder.patch_size[0] * base.encoder.patch_size[1] * base.encoder.channels
        sizes = {"whole": width, "quarter": width // 4, "eighth": max(values // 8, 1)}
        return changed(base, [*(setting.format(**sizes) for setting in self.settings), f"seed={seed}"])


# What matters most comes first. Figure 5 is a curve: the linear probe rises up to a ratio of 0.75, and falls after it.
ROWS = (
    Row(BASELINE),
    Row("mask tokens in the encoder", "1c", ("mask_tokens_in_encoder=True",), (73.5, 59.6)),
    Row("blocks, ratio 0.75", "1f", ("masking=blocks",), (73.5, 63.9)),
    Row("grid, ratio 0.75", "1f", ("masking=grid",), (73.5, 66.0)),
    Row("decoder 2 deep (baseline 1)", "1a", ("decoder.num_layers=2",), (65.5, 70.0)),
    Row("decoder 4 deep (baseline 1)", "1a", ("decoder.num_layers=4",), (65.5, 71.9)),
    Row("random, ratio 0.5", "Fig. 5", ("mask_ratio=0.5",), paper_sign=-1),
    Row("random, ratio 0.9", "Fig. 5", ("mask_ratio=0.9",), paper_sign=-1),
    Row("blocks, ratio 0.5", "1f", ("masking=blocks", "mask_ratio=0.5"), (73.5, 72.3)),
    Row("normalised pixels", "1d", ("normalize_target=True",), (73.5, 73.9)),
    Row("PCA, 1/8 of the coefficients", "1d", ("target=pca", "pca_components={eighth}"), (73.5, 72.3)),
    Row("crop (baseline none)", "1e", ("crop_scale=(0.5, 1.0)",), (65.7, 73.5)),
    Row("crop and colour jitter", "1e", ("crop_scale=(0.5, 1.0)", "jitter=0.4"), (65.7, 71.9)),
    Row("decoder 1/4 as wide (baseline 1/2)", "1b", ("decoder.hidden_dim={quarter}",), (73.5, 71.3)),
    Row("decoder as wide as the encoder", "1b", ("decoder.hidden_dim={whole}",), (73.5, 73.1)),
    Row("random, ratio 0.25", "Fig. 5", ("mask_ratio=0.25",), paper_sign=-1),
    Row("no class token", "", ("num_cls_tokens=0",)),
    Row("learned positions", "", ("position_embedding=learned",)),
    Row("fine-tuned: the last MLP", "Fig. 9", (), (73.5, 79.1), num_trainable_layers=0.5),
    Row("fine-tuned: the last block", "Fig. 9", (), (73.5, 81.0), num_trainable_layers=1),
    Row("fine-tuned: the last 2 blocks", "Fig. 9", (), paper_sign=1, num_trainable_layers=2),
)
