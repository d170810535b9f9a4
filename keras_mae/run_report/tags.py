"""Pieces of HTML, whose texts are escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


class Markup(str):
    """HTML that is written as it is."""


def text(value: Any) -> Markup:
    """A value as text in HTML; bytes of a file's name that are no UTF-8 are shown as they are in Python."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(str(value).encode("utf-8", "backslashreplace").decode()))


def section(name: str, title: str, *content: str) -> Markup:
    """A section with a heading, to which `#name` leads; empty without content."""
    inside = "\n".join(filter(None, content))
    if not inside:
        return Markup("")
    return Markup(f'<section id="{name}">\n<h2>{text(title)}</h2>\n{inside}\n</section>')


def heading(title: str) -> Markup:
    """A heading inside of a section."""
    return Markup(f"<h3>{text(title)}</h3>")


def note(sentence: Any) -> Markup:
    """A sentence of lesser weight."""
    return Markup(f'<p class="note">{text(sentence)}</p>')


def pairs(rows: Iterable[tuple[Any, Any]]) -> Markup:
    """Names and values below each other; empty without rows."""
    inside = "\n".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in rows)
    return Markup(f"<dl>\n{inside}\n</dl>" if inside else "")


def table(heads: Sequence[Any], rows: Sequence[Sequence[Any]], label: str, most: int | None = None) -> Markup:
    """A table, whose first column names the rows.

    Args:
        heads: of the columns.
        rows: with as many cells.
        label: what a screen reader calls it.
        most: rows that are shown; a sentence below says how many are not. None for all.
    """
    shown = rows[:most]
    head = "".join(f'<th scope="col">{text(one)}</th>' for one in heads)
    lines = "\n".join(
        f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in shown
    )
    cut = note(f"The first {len(shown):,} of {len(rows):,} rows.") if len(shown) < len(rows) else ""
    return Markup(
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(label)}"><table>\n<thead><tr>{head}</tr>'
        f"</thead>\n<tbody>\n{lines}\n</tbody>\n</table></div>\n{cut}"
    )


def folded(summary: Any, *content: str) -> Markup:
    """Content that a click unfolds."""
    inside = "\n".join(content)
    return Markup(f"<details>\n<summary>{text(summary)}</summary>\n{inside}\n</details>")


def command(title: str, line: str) -> Markup:
    """A command line, which one click selects; the button that copies it appears where scripts run."""
    return Markup(
        f'<div class="command"><h3>{text(title)}</h3><button type="button" class="copy" hidden>Copy</button>'
        f'<pre tabindex="0"><code>{text(line)}</code></pre></div>'
    )
