"""What the page of one run holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_mae.run_report import chart_view, charts, measures, numbers, pictures, tags
from keras_mae.run_report.logs import number
from keras_mae.run_report.next_commands import commands_of
from keras_mae.run_report.record import RunRecord
from keras_mae.run_report.tags import Markup
from keras_mae.trainers.nearest_recipe import GIVEN, nearest_recipe

_MOST_CLASSES, _MOST_EPOCHS, _MOST_NAMES = 100, 200, 20  # rows of tables


def one_run(one: RunRecord) -> tuple[str, str, list[tuple[str, str, Markup]]]:
    """The title, the HTML below it, and the sections: their names, titles and HTML."""
    shown = pictures.Pictures([one])
    views = [chart_view.view(chart) for chart in charts.charts_of([one], [one.name])]
    curves = Markup(f'<div class="charts">\n{"".join(views)}\n</div>') if views else Markup("")
    sections: dict[str, tuple[str, Sequence[str]]] = {
        "curves": ("Curves", [curves, events(one), _all_epochs(one)]),
        "pictures": ("Pictures over the epochs", [*shown.of_epochs(), *map(tags.note, shown.notes)]),
        "results": ("Results", [*measures.results_section(one), *shown.of_group("report"), *_segmented(shown)]),
        "settings": ("Settings", settings(one)),
        "data": ("Data and first weights", data(one)),
        "machine": ("Machine and versions", machine(one)),
        "commands": ("Commands to go on with", _commands(one)),
    }
    figures = Markup(f'<dl class="figures">\n{_tiles(measures.figures(one))}\n</dl>')
    subtitle = f"<p>{tags.text(f'keras-mae {one.program} of {one.data}; last written {one.written}')}</p>"
    made = [(name, title, tags.section(name, title, *content)) for name, (title, content) in sections.items()]
    return one.name, subtitle, [("figures", "", figures), *made]


def _commands(one: RunRecord) -> list[str]:
    found: list[str] = [tags.command(*each) for each in commands_of(one)]
    if found and not one.finished:
        found.append(
            tags.note("Flags that are no settings, such as --strategy, are not noted: add those of the start.")
        )
    return found


def _tiles(figures: list[tuple[str, str]]) -> str:
    """Each figure with its name above; what stands in brackets is smaller."""
    tiles = []
    for name, value in figures:
        main, bracket, rest = value.partition(" (")
        small = f" <small>{tags.text(bracket.strip() + rest)}</small>" if bracket else ""
        tiles.append(f"<div><dt>{tags.text(name)}</dt><dd>{tags.text(main)}{small}</dd></div>")
    return "\n".join(tiles)


def events(one: RunRecord) -> str:
    """The steps that were skipped or clipped."""
    if one.steps is None or not one.steps.events:
        return ""
    rows = [
        [f"{event.step:,}", event.kind, event.reason, numbers.shown(event.gradient_norm)] for event in one.steps.events
    ]
    total = sum(one.steps.event_counts.values())
    cut = [tags.note(f"The first {len(rows)} of {total:,} steps.")] if len(rows) < total else []
    heads, label = ["step", "what", "why", "gradient norm"], "Steps that were skipped or clipped"
    return tags.folded(f"{label}: {total:,}", tags.table(heads, rows, label), *cut)


def _all_epochs(one: RunRecord) -> str:
    """Every number of the log, for those who do not see curves, and to copy."""
    if not one.epochs:
        return tags.note("No epoch is logged yet.") if one.total_epochs else ""  # else it trains nothing
    keys = list(dict.fromkeys(key for epoch in one.epochs for key in epoch))
    every = -(-len(one.epochs) // _MOST_EPOCHS)
    chosen = one.epochs[every - 1 :: every] if every > 1 else one.epochs
    rows = [
        [numbers.shown(epoch[key], charts.kind_of(key)) if key in epoch else "" for key in keys] for epoch in chosen
    ]
    cut = [tags.note(f"Every {every}th of {len(one.epochs):,} epochs; log.jsonl has all.")] if every > 1 else []
    return tags.folded(
        "Numbers of the epochs", tags.table([charts.name_of(key, True) for key in keys], rows, "Numbers"), *cut
    )


def _segmented(shown: pictures.Pictures) -> list[Markup]:
    found = shown.of_group("segmentations")
    return [pictures.heading_of("segmentations"), *found] if found else []


def settings(one: RunRecord) -> list[str]:
    """The settings that are not those of the nearest recipe, and all of them folded away."""
    parts: list[str] = []
    if one.config is None:
        parts.append(tags.note(f"This version cannot compare the settings with recipes: {one.fault}."))
    else:
        recipe, differing = nearest_recipe(one.config)
        near = f"{recipe}, the nearest recipe" if recipe else "the defaults"
        rows = [[each.name, each.typed.partition("=")[2], _value(each.other)] for each in differing]
        if rows:
            heads = ["setting", "this run", recipe or "default"]
            table = tags.table(heads, rows, "Settings that differ")
            parts += [tags.note(f"What differs from {near}:"), Markup(f'<div class="settings">{table}</div>')]
        else:
            parts.append(tags.note(f"All settings are those of {near}."))
    everything = tags.pairs((name, _value(value)) for name, value in one.settings.items())
    return [*parts, tags.folded(f"All {len(one.settings)} settings", everything)]


def shown_setting(settings: Mapping[str, Any], name: str) -> str:
    """A setting's value in words; that of a run that has no such setting as well."""
    return _value(settings[name]) if name in settings else "(no such setting)"


def _value(value: Any) -> str:
    """A setting as `--set` takes it."""
    return value if isinstance(value, str) else repr(tuple(value) if isinstance(value, list) else value)


def data(one: RunRecord) -> list[str]:
    """What the run was trained on, and what it began with."""
    seen, results, init = one.seen, one.results, one.init
    size, channels = one.settings.get("encoder.image_size"), one.settings.get("encoder.channels")
    names = seen.get("label_names")
    names = names if isinstance(names, list) else []
    facts = [
        ("specification", one.data),
        ("images to train on", f"{seen['num_images']:,}" if isinstance(seen.get("num_images"), int) else None),
        ("images to test on", f"{results['validation_images']:,}" if "validation_images" in results else None),
        ("bits a channel", {"uint8": "8", "uint16": "16"}.get(str(seen.get("dtype")))),
        ("size in the network", f"{' x '.join(map(str, size))} pixels" if isinstance(size, list) else None),
        ("channels", channels),
        ("labels", f"{seen.get('task')}: {', '.join(map(str, names[:_MOST_NAMES]))}" if names else None),
        ("digest of what was seen", seen.get("digest")),
        ("folder that relative paths begin in", one.record.get("directory")),
    ]
    parts: list[str] = [tags.pairs((name, value) for name, value in facts if value not in (None, ""))]
    parts += _corrupt(one.record.get("corrupt"))
    if counts := one.class_counts:
        rows = [[name, f"{count:,}"] for name, count in counts.items()]
        table = tags.table(["class", "images"], rows, "Classes", _MOST_CLASSES)
        parts.append(tags.folded(f"{len(counts):,} classes, with their numbers of images", table))
    began = [("first weights", init.get("source")), ("licence of these", init.get("licence"))]
    given = [one.settings.get(name) for name in GIVEN]
    found = [(name, value) for name, value in began if value] or [("weights of", value) for value in given if value]
    trained = one.total_epochs is not None
    parts.append(tags.pairs(found or ([("first weights", "random ones")] if trained else [])))
    return parts


def _corrupt(told: Any) -> list[str]:
    if not isinstance(told, list):
        return []
    parts: list[str] = []
    for one in told:
        if isinstance(one, dict):
            found = one.get("names")
            names = [str(name) for name in found] if isinstance(found, list) else []
            shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
            parts.append(tags.pairs([("corrupt images", f"{one.get('summary', '')}: {shown}")]))
    return parts


def machine(one: RunRecord) -> list[str]:
    """The machines that the run was computed on, and the versions of libraries, in order."""
    parts: list[str] = []
    for title, each in (("Machine", machines(one)), ("Versions", versions(one))):
        later = [(f"{title.lower()} after a resume", said) for said in each[1:]]
        parts.append(tags.pairs([(title.lower(), each[0]), *later] if each else []))
    if not any(parts):
        parts = [tags.note("An earlier version has written this run, and did not note the machine.")]
    return parts


def machines(one: RunRecord) -> list[str]:
    """Each machine in words."""
    return list(map(_machine, _dicts(one.record.get("machine"))))


def versions(one: RunRecord) -> list[str]:
    """The versions of each start in words."""
    return [", ".join(f"{name} {value}" for name, value in each.items()) for each in _dicts(one.record.get("versions"))]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _machine(facts: dict[str, Any]) -> str:
    cores, memory, gpus = facts.get("cores"), number(facts.get("memory")), facts.get("gpus")
    names = [str(name) for name in gpus] if isinstance(gpus, list) else []
    counted = [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    said = [str(facts.get("processor") or "unknown processor"), f"{cores} {'core' if cores == 1 else 'cores'}",
            f"{numbers.shown(memory, numbers.BYTES)} of memory", ", ".join(counted) or "no GPU",
            str(facts.get("system") or "")]  # fmt: skip
    return ", ".join(filter(None, said))
