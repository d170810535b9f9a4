"""The page about a run, or about several, in one file that opens without network."""

from __future__ import annotations

import importlib.resources
import os
import string
from collections.abc import Sequence
from pathlib import Path

from keras_mae.html_page import PALETTE, policy_of
from keras_mae.run_report import tags
from keras_mae.run_report.charts import reference_of
from keras_mae.run_report.comparison import check_comparable, comparison, labels_of
from keras_mae.run_report.one_run import one_run
from keras_mae.run_report.record import RunRecord
from keras_mae.run_report.tags import Markup
from keras_mae.trainers import pictures
from keras_mae.trainers.reference import Reference
from keras_mae.trainers.run import LOSS_CURVE, PAGE
from keras_mae.whole_file import replace_file


def write_report(paths: Sequence[str], output: str | None = None) -> list[str]:
    """Writes the page, and the curves of the loss beside it if the runs have logs.

    Args:
        paths: folders of runs. Several are compared.
        output: the HTML file to write, whose name without its ending also begins that of the picture of the loss; None
            for `report.html` and `loss.png` in the folder of the only run.

    Returns:
        The paths of the files.

    Raises:
        ValueError: if a folder holds no run, runs cannot be compared, or several have no output.
    """
    runs = [RunRecord(path) for path in paths]
    if len(runs) > 1:
        check_comparable(runs)
    if output is None and len(runs) > 1:
        raise ValueError("a page of several runs needs --output, the HTML file to write")
    target = output or os.path.join(runs[0].path, PAGE)
    content = comparison(runs) if len(runs) > 1 else one_run(runs[0])
    text = _page(*content)
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    replace_file(target, lambda aside: Path(aside).write_text(text, encoding="utf-8"))
    written, curve = [target], _curve(output, runs[0])
    labels, losses = labels_of(runs), [[epoch.get("loss", float("nan")) for epoch in one.epochs] for one in runs]
    lines = {label: line for label, line in zip(labels, losses, strict=True) if line}
    if lines and len({one.program for one in runs}) == 1:
        title = "pretraining loss" if runs[0].program == "pretrain" else "training loss"
        picture = pictures.loss_curve(next(iter(lines.values())), _reference(runs[0]), title) if len(runs) == 1 else (
            pictures.loss_curves(lines, title))  # fmt: skip
        pictures.save(picture, curve)
        written.append(curve)
    return written


def _curve(output: str | None, one: RunRecord) -> str:
    """The path of the picture of the loss."""
    return one.file(LOSS_CURVE) if output is None else f"{os.path.splitext(output)[0]}_{LOSS_CURVE}"


def _reference(one: RunRecord) -> Reference | None:
    known = reference_of(one)
    return None if known is None else Reference(*known)


def _page(title: str, subtitle: str, sections: Sequence[tuple[str, str, Markup]]) -> str:
    """The text of the HTML file; each section has a name, a title and its HTML."""
    style, script = PALETTE + _part("report.css"), _part("report.js")
    sections = [one for one in sections if one[2]]
    return string.Template(_part("report.html")).substitute(
        policy=policy_of(style, script, "data:"),
        title=tags.text(title),
        subtitle=subtitle,
        links=" ".join(f'<a href="#{name}">{tags.text(said)}</a>' for name, said, _ in sections if said),
        content="\n".join(content for _, _, content in sections),
        style=style,
        script=script,
    )


def _part(name: str) -> str:
    return (importlib.resources.files("keras_mae.run_report") / name).read_text("utf-8")
