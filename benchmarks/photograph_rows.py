"""The rows of the ablation table on photographs: what each changes, and what the papers found for it."""

from __future__ import annotations

import dataclasses

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import changed

BASELINE = "baseline"
PIXELS, UNTRAINED = "pixels", "random weights"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table; it is compared with the baseline.

    Attributes:
        name: of the row, and of its folder.
        table: where a paper has it.
        settings: `key=value` changes of the recipe; `{whole}`, `{half}` and `{quarter}` stand for the encoder's
            width and parts of it, `{eighth}` for an eighth of the values in a patch, `{unit2}` and `{unit4}` for the
            side of 2 and 4 patches in pixels, `{layers}` for the numbers of all layers of the encoder.
        paper: the paper's linear probes without and with this change; None if it gives no numbers. Those of the MAE
            paper are of ViT-L on ImageNet, 800 epochs.
        paper_sign: where it gives none, whether it finds the change better (1), worse (-1), or does not say (0).
        short: whether the short form has the row.
    """

    name: str
    table: str = ""
    settings: tuple[str, ...] = ()
    paper: tuple[float, float] | None = None
    paper_sign: int = 0
    short: bool = False

    @property
    def expected_sign(self) -> int:
        """The sign of the change in the paper; 0 if there is none."""
        if self.paper is None:
            return self.paper_sign
        return (self.paper[1] > self.paper[0]) - (self.paper[1] < self.paper[0])

    def config(self, base: PretrainConfig) -> PretrainConfig:
        """The pretraining of this row, of any seed."""
        encoder = base.encoder
        patch = encoder.patch_size[0]
        values = patch * encoder.patch_size[1] * encoder.channels
        width = encoder.hidden_dim
        sizes = {"whole": width, "half": width // 2, "quarter": width // 4, "eighth": max(values // 8, 1)}
        layers = tuple(range(1, encoder.num_layers + 1))
        units = {"unit2": 2 * patch, "unit4": 4 * patch}
        return changed(base, [setting.format(**sizes, **units, layers=layers) for setting in self.settings])


_CROSS = ("decoder=cross", "decoder.hidden_dim={half}", "decoder.num_layers=2", "decoder.num_heads=2")
_PIXIO = ("masking=units", "unit={unit4}", "num_cls_tokens=8", "decoder.num_layers=8")

# What matters most comes first. Figure 5 is a curve: the linear probe rises up to a ratio of 0.75, and falls after it.
ROWS = (
    Row(BASELINE, short=True),
    Row(UNTRAINED, short=True),
    Row(PIXELS, short=True),
    Row("mask tokens in the encoder", "1c", ("mask_tokens_in_encoder=True",), (73.5, 59.6)),
    Row("blocks, ratio 0.75", "1f", ("masking=blocks",), (73.5, 63.9), short=True),
    Row("grid, ratio 0.75", "1f", ("masking=grid",), (73.5, 66.0)),
    Row("random, ratio 0.5", "Fig. 5", ("mask_ratio=0.5",), paper_sign=-1),
    Row("random, ratio 0.9", "Fig. 5", ("mask_ratio=0.9",), paper_sign=-1),
    Row("decoder 1 deep (baseline 2)", "1a", ("decoder.num_layers=1",), (70.0, 65.5)),
    Row("decoder 4 deep (baseline 2)", "1a", ("decoder.num_layers=4",), (70.0, 71.9)),
    Row("plain pixels", "1d", ("normalize_target=False",), (73.9, 73.5), short=True),
    Row("no crop", "1e", ("crop_scale=None",), (73.5, 65.7), short=True),
    Row("crop and colour jitter", "1e", ("jitter=0.4",), (73.5, 71.9)),
    Row("4 x 4-patch units", "Pixio", ("masking=units", "unit={unit4}"), paper_sign=1),
    Row("8 class tokens", "Pixio", ("num_cls_tokens=8",), paper_sign=1),
    Row("decoder 8 deep (baseline 2)", "1a", ("decoder.num_layers=8",), (70.0, 73.5)),
    Row("Pixio: these three", "Pixio", _PIXIO, paper_sign=1),
    Row("cross decoder", "CrossMAE", _CROSS, short=True),
    Row("cross decoder, half predicted", "CrossMAE", (*_CROSS, "predict_ratio=0.5")),
    Row("cross decoder, a quarter predicted", "CrossMAE", (*_CROSS, "predict_ratio=0.25")),
    Row("cross decoder between all blocks", "CrossMAE", (*_CROSS, "decoder.encoder_layers={layers}"), (65.1, 65.4)),
    Row("half predicted", "", ("predict_ratio=0.5",)),
    Row("loss on visible patches, 0.1", "", ("visible_weight=0.1",)),
    Row("2 x 2-patch units", "Pixio", ("masking=units", "unit={unit2}"), paper_sign=1),
    Row("PCA, 1/8 of the coefficients", "1d", ("target=pca", "pca_components={eighth}"), (73.9, 72.3)),
    Row("blocks, ratio 0.5", "1f", ("masking=blocks", "mask_ratio=0.5"), (73.5, 72.3)),
    Row("decoder 1/4 as wide (baseline 1/2)", "1b", ("decoder.hidden_dim={quarter}",), (73.5, 71.3)),
    Row("decoder as wide as the encoder", "1b", ("decoder.hidden_dim={whole}",), (73.5, 73.1)),
    Row("random, ratio 0.25", "Fig. 5", ("mask_ratio=0.25",), paper_sign=-1),
    Row("learned positions", "", ("position_embedding=learned",)),
    Row("no class token", "", ("num_cls_tokens=0",)),
)
