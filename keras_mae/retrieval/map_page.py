"""The HTML page of a map: its parts in one file, with a policy that lets it load nothing."""

from __future__ import annotations

import base64
import gzip
import html
import importlib.resources
import string
from collections.abc import Mapping

from keras_mae.html_page import PALETTE, policy_of


def page(title: str, subtitle: str, notes: str, data: Mapping[str, bytes]) -> str:
    """Composes the page from its HTML, style sheet and scripts in this folder.

    Args:
        title, subtitle, notes: plain text.
        data: by the names that `map_page.js` reads. They are compressed and written as base64, so that nothing in them
            is HTML.
    """
    style = PALETTE + _part("map_page.css")
    script = _part("map_canvas.js") + _part("map_page.js")
    return string.Template(_part("map_page.html")).substitute(
        policy=policy_of(style, script, "blob:"),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        notes=html.escape(notes),
        style=style,
        script=script,
        data="\n".join(_embedded(name, content) for name, content in data.items()),
    )


def _part(name: str) -> str:
    return (importlib.resources.files("keras_mae.retrieval") / name).read_text("utf-8")


def _embedded(name: str, content: bytes) -> str:
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{text}</script>'
