"""The ablation table: its verdicts by hand, and that what was measured is kept."""

import json

import numpy as np
import pytest

from benchmarks import ablations
from benchmarks.ablation_report import change, verdict, write_report
from benchmarks.ablation_rows import BASELINE, ROWS, Row
from keras_mae.data import Subset, open_source
from keras_mae.trainers import recipes
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.model_parts import PCA
from keras_mae.trainers.pretrain import build

WORSE = Row("worse", "1f", paper=(73.5, 63.9))


def test_change_is_that_of_each_seed():
    """Gains of -2, -4 and -3 percentage points: mean -3, and a standard deviation of 1."""
    mean, spread = change(WORSE, {BASELINE: [0.90, 0.92, 0.91], "worse": [0.88, 0.88, 0.88]})
    assert mean == pytest.approx(-3) and spread == pytest.approx(1)


@pytest.mark.parametrize(
    ("paper", "ours", "expected"),
    [
        ((73.5, 63.9), [0.80, 0.81], "as in the paper"),
        ((63.9, 73.5), [0.80, 0.81], "**differs from the paper**"),
        ((63.9, 73.5), [0.80, 0.99], "no clear difference"),
        ((63.9, 73.5), [0.80], "one seed: no spread"),
        (None, [0.80, 0.81], "the paper gives no number"),
    ],
)
def test_the_verdict(paper, ours, expected):
    assert verdict(Row("worse", paper=paper), {BASELINE: [0.9, 0.9], "worse": ours}) == expected


def test_the_table_says_where_it_differs(tmp_path):
    accuracies = {BASELINE: [0.9, 0.91], "blocks, ratio 0.75": [0.95, 0.96], "random, ratio 0.5": [0.8, 0.8]}
    text = write_report(accuracies, {"outside": 10.0, "inside": 15.0}, str(tmp_path))
    assert "| blocks, ratio 0.75 (Table 1f) | 95.5 ± 0.7 | +5.0 ± 0.0 | -9.6 (73.5 to 63.9) | **differs" in text
    assert "| random, ratio 0.5 (Fig. 5) | 80.0 ± 0.0 | -10.5 ± 0.7 | worse | as in the paper |" in text
    assert "1.50 times as fast, **less than the 2 times" in text
    assert (tmp_path / "table.md").read_text() == text and (tmp_path / "table.png").stat().st_size > 1000


def test_every_row_changes_one_thing():
    base = recipes.load("mae_digits")
    assert [row.name for row in ROWS][0] == BASELINE and len({row.name for row in ROWS}) == len(ROWS)
    configs = [row.config(base, seed=3) for row in ROWS if row.num_trainable_layers is None]
    assert len(set(configs)) == len(configs) and all(config.run.seed == 3 for config in configs)
    for config in configs:
        config.target.build()
        assert config.masking.build().num_visible(49) == int(49 * (1 - config.masking.mask_ratio))
    assert {config.decoder.hidden_dim for config in configs} == {32, 64, 128}  # the encoder is 128 wide
    assert PCA(2) in [config.target for config in configs]  # of 4 x 4 pixels


@pytest.mark.medium
def test_a_result_is_taken_as_it_is_unless_the_settings_differ(tmp_path, monkeypatch):
    base = recipes.load("mae_digits")
    tuning = recipes.load("finetune_digits", FinetuneConfig)
    runs = []

    def fake_pretrain(config, data, folder, resume):
        runs.append((config.run.seed, resume))
        return build(config)

    monkeypatch.setattr(ablations, "pretrain", fake_pretrain)
    monkeypatch.setattr(ablations, "linear_probe", lambda encoder, data, crop_ratio: 0.5)
    arguments = (base, tuning, "digits", str(tmp_path))
    (tmp_path / "baseline" / "1").mkdir(parents=True)
    for _ in range(2):
        assert ablations.measure(ROWS[0], 1, *arguments)["accuracy"] == 0.5
    assert runs == [(1, False)]  # the second time it is read
    (tmp_path / "baseline" / "2").mkdir()
    (tmp_path / "baseline" / "2" / "config.json").write_text("{}")
    ablations.measure(ROWS[0], 2, *arguments)
    assert runs[1:] == [(2, True)]  # begun, and not finished
    result = json.loads((tmp_path / "baseline" / "1" / "accuracy.json").read_text())
    result["settings"]["config"]["optimizer"]["epochs"] = 1
    (tmp_path / "baseline" / "1" / "accuracy.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match="holds a result of other settings; name another --output"):
        ablations.measure(ROWS[0], 1, *arguments)


@pytest.mark.medium
def test_the_linear_probe_of_an_encoder(monkeypatch):
    """On 300 of the digits: an encoder that was not trained is far above chance."""
    monkeypatch.setattr(ablations, "open_source", lambda data, split: _first(open_source(data, split=split)))
    accuracy = ablations.linear_probe(build(recipes.load("mae_digits")).encoder, "digits", 1.0)
    assert 0.3 < accuracy < 0.95


def _first(source):
    return Subset(source, np.arange(300))
