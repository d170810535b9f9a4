"""The README's Python runs as it stands, its commands have the flags that it gives them, its links lead somewhere."""

import os
import pathlib
import re
import shlex

import pytest
from PIL import Image

from keras_mae import cli
from tests.drawn import drawn

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.medium
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    from keras_mae.export import export_encoder
    from keras_mae.models import ViTEncoder

    monkeypatch.chdir(tmp_path)
    # what the commands between the blocks would have made
    encoder = ViTEncoder(image_shape=(32, 32, 3), patch_size=8, hidden_dim=16, num_layers=1, num_heads=2)
    export_encoder(encoder, "models/xrays")
    Image.fromarray(drawn(48, 64)).save("picture.jpg")
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["pictures"]["reconstruction"].shape == (8, 28, 28, 1)
    assert names["features"]["patch_tokens"].shape == (8, 49, 64)
    assert names["embedding"].shape == (1, 16)


def test_commands_have_the_flags_that_are_given_to_them():
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line.startswith("keras-mae")]
    assert lines
    for _, name, *arguments in lines:
        values = cli.COMMANDS[name].make_flags()
        assert values([name, *arguments]) == [name]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert all(f"\n{target}:" in makefile for target in targets)


def test_links_lead_somewhere():
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if not link.startswith("http")]
    assert links and all(os.path.exists(ROOT / link) for link in links)
