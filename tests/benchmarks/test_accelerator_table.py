"""The stored compilations and the page that shows them."""

import json

import pytest

from benchmarks.accelerator import table
from benchmarks.accelerator.steps import COMPILED_STEPS

LINE = {
    **{"step": "tpu_vit_base", "topology": "v5e:2x2", "device": "TPU v5 lite"},
    **{"total_mib": 5000.0, "code_mib": 120.0, "operations": 64 * 58e9, "bytes_accessed": 64 * 250e6},
    "compile_seconds": 131.4,
}


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty store and a page with marks."""
    page = tmp_path / "page.md"
    page.write_text(f"Before\n{table.BEGIN}\nold\n{table.END}\nAfter\n")
    monkeypatch.setattr(table, "STORED", str(tmp_path / "stored.json"))
    monkeypatch.setattr(table, "PAGE", str(page))
    return tmp_path


def test_the_page_shows_what_is_stored():
    with open(table.PAGE) as file:
        text = file.read()
    assert f"{table.BEGIN}\n\n{table.table(table.stored())}\n\n{table.END}" in text


def test_every_stored_step_is_known_and_counted():
    for one in table.stored():
        assert one["step"] in COMPILED_STEPS and one["topology"].partition(":")[0] in table.MEMORY
        assert 0 < one["arguments_mib"] < one["total_mib"] and one["operations"] > 0 and one["code_mib"] > 0


def test_a_line_replaces_an_older_one_and_the_page_follows(elsewhere):
    failed = {"step": "tpu_vit_large", "topology": "v5e:2x2", "error": "out of memory"}
    table.write(table.add([LINE, failed]))
    table.write(table.add([{**LINE, "total_mib": 17000.0}]))
    assert [one["total_mib"] for one in json.loads((elsewhere / "stored.json").read_text())] == [17000.0]
    text = (elsewhere / "page.md").read_text()
    row = "| MAE, ViT-B/16, batch 64, bfloat16 | v5e | 16.7 of 16 | 4.6 | no | 58.0 | 250 | 120 | 131 |"
    assert row in text and "old" not in text
    assert text.startswith("Before\n") and text.endswith("\nAfter\n")


def test_a_step_in_parts_has_no_counts_as_the_compiler_counts_one_part(elsewhere):
    in_parts = {**LINE, "step": "tpu_vit_base_256_in_4_parts"}
    assert table.table([in_parts]).endswith("| 5.0 of 16 | 5.3 | yes | - | - | 120 | 131 |")
