"""The ablation table on photographs: its verdicts by hand, what a seed means, and that what was measured is kept."""

import functools
import json

import numpy as np
import pytest

from benchmarks import photograph_run, photographs
from benchmarks.photograph_report import change, verdict, write_report
from benchmarks.photograph_rows import BASELINE, PIXELS, ROWS, UNTRAINED, Row
from benchmarks.photograph_run import PROBES, Crops, Pretraining, Probes, recipe
from keras_mae.trainers.model_parts import PCA
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import changed, replaced

WORSE = Row("worse", "1f", paper=(73.5, 63.9))
TINY = (
    *("encoder.hidden_dim=16", "encoder.num_layers=1", "decoder.hidden_dim=8", "decoder.num_layers=1"),
    *("epochs=1", "warmup_epochs=0", "jit_compile=False"),
)


def results(*linear, data=44):
    """Results of seeds with these accuracies of the linear probe, in percent."""
    return [
        {
            "accuracy": dict(zip(PROBES, (one / 200, one / 100, one / 100 + 0.01))),
            "processor_seconds": 1800.0,
            "settings": {"data": {"photographs": data}},
        }
        for one in linear
    ]


def patterned(count, side=64):
    """Pictures of four tiles with noise of their own; each has stripes at an angle of its own."""
    y, x = np.mgrid[0 : 4 * side, 0 : 4 * side]
    rng = np.random.default_rng(0)
    angles = np.pi * np.arange(count) / count
    waves = [np.sin((np.cos(angle) * x + np.sin(angle) * y) * 0.7) for angle in angles]
    return [128 + 60 * wave + rng.normal(0, 25, wave.shape) for wave in waves]


@pytest.fixture
def few(monkeypatch):
    """Few crops of each photograph."""
    for name, count in (("UNLABELLED", 40), ("LABELLED", 60), ("TESTED", 20)):
        monkeypatch.setattr(photograph_run, name, count)


def test_change_is_that_of_each_seed():
    """Gains of -2, -4 and -3 percentage points: mean -3, and a standard deviation of 1."""
    mean, spread = change(WORSE, {BASELINE: results(90, 92, 91), "worse": results(88, 88, 88)})
    assert mean == pytest.approx(-3) and spread == pytest.approx(1)


@pytest.mark.parametrize(
    ("paper", "ours", "expected"),
    [
        ((73.5, 63.9), (80, 81), "as in the paper"),
        ((63.9, 73.5), (80, 81), "**differs from the paper**"),
        ((63.9, 73.5), (80, 99), "no clear difference"),
        ((63.9, 73.5), (80,), "one seed: no spread"),
        (None, (80, 81), ""),
    ],
)
def test_the_verdict(paper, ours, expected):
    assert verdict(Row("worse", paper=paper), {BASELINE: results(90, 90), "worse": results(*ours)}) == expected


def test_the_table_says_where_it_differs(tmp_path):
    measured = {
        BASELINE: results(40, 41),
        UNTRAINED: results(30, 32),
        "blocks, ratio 0.75": results(45, 46),
        "random, ratio 0.5": results(35, 35),
    }
    text = write_report(measured, str(tmp_path))
    assert "| random weights | 15.5 ± 0.7 | 31.0 ± 1.4 | 32.0 ± 1.4 | -9.5 ± 0.7 |  |  | 2 | 1800 |" in text
    assert "| 45.5 ± 0.7 | 46.5 ± 0.7 | +5.0 ± 0.0 | -9.6 (73.5 to 63.9) | **differs from the paper** |" in text
    assert "| random, ratio 0.5 (Fig. 5) |" in text and "| -5.5 ± 0.7 | worse | as in the paper |" in text
    assert "44 photographs; guessing gives 2.3 %. These rows took 4.00 hours of a processor core." in text
    assert (tmp_path / "table.md").read_text() == text and (tmp_path / "table.png").stat().st_size > 1000


def test_every_row_changes_one_thing():
    base = recipe()
    assert [row.name for row in ROWS][0] == BASELINE and len({row.name for row in ROWS}) == len(ROWS)
    configs = {row.name: row.config(base) for row in ROWS if row.name not in (PIXELS, UNTRAINED)}
    assert len(set(configs.values())) == len(configs)
    for config in configs.values():
        config.target.build()
        if not hasattr(config.masking, "unit"):  # units count when they know the size of a patch
            assert config.masking.build().num_visible(64) == int(64 * (1 - config.masking.mask_ratio))
    assert {config.decoder.hidden_dim for config in configs.values()} == {32, 64, 128}  # the encoder is 128 wide
    assert PCA(2) in [config.target for config in configs.values()]  # of 4 x 4 pixels
    assert {config.masking.unit for config in configs.values() if hasattr(config.masking, "unit")} == {8, 16}
    larger = recipe(96)
    assert larger.encoder.patch_size == (12, 12) and larger.encoder.image_size == (96, 96)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["target=pca", "jit_compile=True"])
def test_a_seed_is_a_run_of_pretrain(tmp_path, few, change):
    """The second seed of one compiled model ends with the weights of `pretrain` with that seed: equal up to round-off.

    Adam turns round-off of gradients that are zero into steps of up to the learning rate, here 1e-3 in all.
    """
    changes = [*TINY, change] + (["pca_components=4"] if change == "target=pca" else [])
    config = changed(recipe(), [*changes, "base_learning_rate=0.001"])
    crops = Crops.of(patterned(3), 0, 32)
    pretraining = Pretraining(config)
    first, second = pretraining(crops, 0), pretraining(crops, 1)
    assert abs(first[0] - second[0]) > 1e-5
    np.savez(tmp_path / "crops.npz", images=crops.unlabelled)
    model = pretrain(replaced(config, seed=1), f"npz:{tmp_path / 'crops.npz'}", str(tmp_path / "run"))
    for ours, theirs in zip(pretraining.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 if change == "jit_compile=True" else 1e-5)
    assert model.history.history["loss"] == pytest.approx(second, abs=1e-5)


@pytest.mark.medium
def test_without_a_crop_the_middle_is_trained_on(few, monkeypatch):
    seen = []
    monkeypatch.setattr(photograph_run, "ArraySource", lambda images: seen.append(images) or _source(images))
    crops = Crops.of(patterned(2), 0, 32)
    Pretraining(changed(recipe(), [*TINY, "crop_scale=None"]))(crops, 0)
    np.testing.assert_array_equal(seen[0], crops.unlabelled[:, 8:40, 8:40])


_source = photograph_run.ArraySource


@pytest.mark.medium
def test_probes_know_stripes_by_their_angle(few):
    """Of the pixels, patches and their attention tell angles apart; chance is a third."""
    accuracy = Probes(None)(Crops.of(patterned(3), 0, 32), 0)
    assert list(accuracy) == list(PROBES) and accuracy["kNN"] > 0.6 and accuracy["attentive"] > 0.6
    tokens = Probes(None).tokens(np.arange(32 * 32, dtype="uint8").reshape(1, 32, 32, 1) // 4)
    assert tokens.shape == (1, 64, 16)
    patch = (np.arange(32 * 32).astype("uint8").reshape(32, 32) // 4)[4:8, 8:12]  # the second row's third
    np.testing.assert_allclose(tokens[0, 8 + 2], (patch.ravel() - 128.0) / 50, rtol=1e-6)


@pytest.mark.medium
def test_the_tiny_form_and_what_it_keeps(tmp_path, few, monkeypatch, capsys):
    """Two processes share the rows; a third finds all results, and one of other settings is refused."""
    monkeypatch.setattr(photographs.labelled_crops, "photographs", lambda folder, side: patterned(3))
    monkeypatch.setattr(photograph_run, "attentive_accuracy", lambda *_: 0.5)  # the test above has it
    monkeypatch.setattr(photographs, "ROWS", [row for row in ROWS if row.name in (BASELINE, UNTRAINED, PIXELS)])
    # as each process would: a compiled model begins anew with every seed
    monkeypatch.setattr(photographs, "Pretraining", functools.cache(photographs.Pretraining))
    settings = [part for setting in TINY for part in ("--set", setting)]
    arguments = ["--output", str(tmp_path), "--seeds=2", *settings]
    for part in ("1/2", "0/2"):
        photographs.main([*arguments, f"--part={part}"])
    text = (tmp_path / "table.md").read_text()
    assert (
        text in capsys.readouterr().out and text.count("\n| ") == 3 and "3 photographs; guessing gives 33.3 %" in text
    )
    assert (tmp_path / "model.keras").exists() and (tmp_path / "reconstructions.png").exists()

    def never(config):
        raise AssertionError("all results are there")

    monkeypatch.setattr(photographs, "Pretraining", never)
    photographs.main(arguments)
    assert (tmp_path / "table.md").read_text() == text
    result = json.loads((tmp_path / "baseline" / "1.json").read_text())
    assert result["accuracy"].keys() == set(PROBES) and len(result["loss"]) == 1 and result["processor_seconds"] > 0
    with pytest.raises(ValueError, match="holds a result of other settings; name another --output"):
        photographs.main([*arguments, "--set", "mask_ratio=0.5"])


@pytest.mark.parametrize("given", ["--side=36", "--side=104", "--part=2/2", "--part=1"])
def test_faulty_arguments_are_one_line(given, capsys):
    with pytest.raises(SystemExit):
        photographs.main([given])
    assert "error: --" in capsys.readouterr().err.splitlines()[-1]
