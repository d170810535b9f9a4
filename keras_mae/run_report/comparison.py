"""What the page of several runs holds."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from keras_mae.run_report import chart_view, charts, measures, one_run, pictures, svg, tags
from keras_mae.run_report.record import RunRecord
from keras_mae.run_report.tags import Markup

# Programs whose runs measure the same
_TOGETHER = (("pretrain",), ("finetune", "linear-probe", "knn"), ("segment",))
_ALIKE = ("target", "loss", "masking")  # parts of a config that make losses what they are


def check_comparable(runs: Sequence[RunRecord]) -> None:
    """Refuses runs whose losses and measures are different things."""
    programs = [one.program for one in runs]
    groups = {next((group for group in _TOGETHER if program in group), (program,)) for program in programs}
    if len(groups) > 1:
        shown = ", ".join(f"{one.path} is one of {one.program}" for one in runs)
        raise ValueError(
            f"runs of these programs measure different things, and are not compared: {shown}; give each group of runs "
            "a page of its own"
        )


def labels_of(runs: Sequence[RunRecord]) -> list[str]:
    """Names that tell runs apart: those of their folders, with as many folders above as are needed."""
    paths = [os.path.abspath(one.path).split(os.sep) for one in runs]
    for count in range(1, max(map(len, paths)) + 1):
        names = [os.sep.join(path[-count:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]


def comparison(runs: Sequence[RunRecord]) -> tuple[str, str, list[tuple[str, str, Markup]]]:
    """The title, the HTML below it, and the sections: their names, titles and HTML."""
    labels = labels_of(runs)
    views = [chart_view.view(chart) for chart in charts.charts_of(runs, labels)]
    shown = pictures.Pictures(runs, last_only=True)
    programs = dict.fromkeys(one.program for one in runs)
    curves = (
        Markup(f'<div class="charts">\n{"".join(views)}\n</div>') if views else tags.note("The runs share no curve.")
    )
    sections: dict[str, tuple[str, Sequence[str]]] = {
        "figures": ("Figures", [_figures(runs, labels)]),
        "curves": ("Curves", [*_losses_differ(runs), curves]),
        "settings": ("Settings that differ", [_settings(runs, labels)]),
        "pictures": ("Last pictures", [*shown.of_group("last"), *map(tags.note, shown.notes)]),
        "alone": (
            "Each run alone, with its settings, results and commands",
            [
                tags.command(label, shlex.join(["keras-mae", "report", f"--run={os.path.abspath(one.path)}"]))
                for label, one in zip(labels, runs, strict=True)
            ],
        ),
    }
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 24 10" aria-hidden="true"><path class="line c{place % svg.COLOURS} '
        f'd{place % svg.DASHES}" d="M1 5h22"/></svg>{tags.text(label)}</li>'
        for place, label in enumerate(labels)
    )
    subtitle = f'<ul class="legend">{keys}</ul>'
    title = f"{len(runs)} runs of {' and '.join(programs)}"
    made = [(name, said, tags.section(name, said, *content)) for name, (said, content) in sections.items()]
    return title, subtitle, made


def _figures(runs: Sequence[RunRecord], labels: Sequence[str]) -> Markup:
    """A row for each figure, a column for each run."""
    each = [dict(_facts(one)) for one in runs]
    names: list[str] = []
    for figures in each:  # a name that only a later run has comes after the one before it there
        place = 0
        for name in figures:
            if name in names:
                place = names.index(name) + 1
            else:
                names.insert(place, name)
                place += 1
    rows = [[name, *(figures.get(name, "–") for figures in each)] for name in names]
    return Markup(f'<div class="settings">{tags.table(["", *labels], rows, "Figures of the runs")}</div>')


def _facts(one: RunRecord) -> list[tuple[str, str]]:
    machines = one_run.machines(one)
    images = one.seen.get("num_images")
    return [
        ("program", one.program),
        *measures.figures(one),
        ("last written", one.written),
        ("images to train on", f"{images:,}" if isinstance(images, int) else "–"),
        ("machine", machines[-1] if machines else "not noted"),
        ("versions", (one_run.versions(one) or ["not noted"])[-1]),
    ]


def _settings(runs: Sequence[RunRecord], labels: Sequence[str]) -> Markup:
    """The settings that not all runs share."""
    each = [{"program": one.program, "data": one.data, **one.settings} for one in runs]
    names = list(dict.fromkeys(name for settings in each for name in settings))
    rows = []
    for name in names:
        values = [one_run.shown_setting(settings, name) for settings in each]
        if len(set(values)) > 1:
            rows.append([name, *values])
    if not rows:
        return tags.note("All runs have the same settings, of the same data specification.")
    return Markup(f'<div class="settings">{tags.table(["setting", *labels], rows, "Settings that differ")}</div>')


def _losses_differ(runs: Sequence[RunRecord]) -> list[str]:
    """A warning if the losses are not of the same kind."""
    if runs[0].program != "pretrain":
        return []
    names = sorted({name for one in runs for name in one.settings if name.partition(".")[0] in _ALIKE})
    found = [name for name in names if len({one_run.shown_setting(one.settings, name) for one in runs}) > 1]
    methods = len({str(one.settings.get("method")) for one in runs}) > 1
    differing = ["method", *found] if methods else found
    if not differing:
        return []
    return [tags.note(f"The losses are not of the same kind, as these settings differ: {', '.join(differing)}. A lower "
                      "loss is then not a better run.")]  # fmt: skip
