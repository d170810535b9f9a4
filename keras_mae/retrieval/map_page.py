"""The HTML page of a map: its parts in one file, with a policy that lets it load nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import importlib.resources
import string
from collections.abc import Mapping


def page(title: str, subtitle: str, notes: str, data: Mapping[str, bytes]) -> str:
    """Composes the page from its HTML, style sheet and scripts in this folder.

    Args:
        title, subtitle, notes: plain text.
        data: by the names that `map_page.js` reads. They are compressed and written as base64, so that nothing in them
            is HTML.
    """
    style = _part("map_page.css")
    script = _part("map_canvas.js") + _part("map_page.js")
    policy = {"default-src": "'none'", "img-src": "blob:", "style-src": _hash(style), "script-src": _hash(script)}
    policy |= {"base-uri": "'none'", "form-action": "'none'"}
    return string.Template(_part("map_page.html")).substitute(
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        notes=html.escape(notes),
        style=style,
        script=script,
        data="\n".join(_embedded(name, content) for name, content in data.items()),
    )


def _part(name: str) -> str:
    return (importlib.resources.files("keras_mae.retrieval") / name).read_text("utf-8")


def _hash(text: str) -> str:
    """How a policy names an inline script or style sheet, so that the browser takes no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(name: str, content: bytes) -> str:
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{text}</script>'
