"""The benchmark of decoders: its counts on the page, and one comparison in its smallest form."""

from pathlib import Path

import pytest

from benchmarks import decoders, flops
from benchmarks.sizes import SIZES

PAGE = (Path(__file__).parents[2] / "docs" / "decoders.md").read_text(encoding="utf-8")


def test_the_page_shows_what_is_counted():
    rows = "\n".join(decoders.rows())
    assert rows in PAGE, "python -m benchmarks.decoders prints the first table of docs/decoders.md"
    assert rows.count("\n") == len(decoders.DECODERS) + 2


def test_counts_of_vit_base():
    """58 GFLOP for MAE's step, 25.9 of them in the encoder; a block of cross-attention by its numbers."""
    found = {name: (total, share, ratio) for name, total, share, ratio in decoders.counts()}
    total, share, ratio = found[decoders.BASE]
    assert total == pytest.approx(58, rel=0.01) and ratio == 1
    assert total * (1 - share) == pytest.approx(25.9, rel=0.01)
    # three times 20 x 147 x 512^2, 4 x 50 x 768 x 512 and 4 x 147 x 50 x 512
    block = 3e-9 * (770_703_360 + 78_643_200 + 15_052_800)
    assert found["cross 12"][0] - found["cross 8"][0] == pytest.approx(4 * block)
    assert found["cross 8"][0] * (1 - found["cross 8"][1]) == pytest.approx(total * (1 - share))


@pytest.mark.slow
def test_a_decoder_against_the_base():
    name = "cross 12 at 0.25"
    found = decoders.against_base("toy", [name], compiled=False, rounds=1)[name]
    (size, model), (base, _) = (decoders.DECODERS[each].of(SIZES["toy"]) for each in (name, decoders.BASE))
    assert found["operations_ratio"] == round(flops.by_hand(size, **model) / flops.by_hand(base), 3)
    assert found["time_ratio"] > 0 and found["processor_time_ratio"] > 0 and found["peak_megabytes"] > 0
