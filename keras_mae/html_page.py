"""What all HTML pages share: their colours, by day and by night, and a policy that lets a page load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

PALETTE = """:root {
  color-scheme: light dark;
  --paper: #ffffff; --surface: #f5f6f8; --ink: #1d2330; --quiet: #5b6472; --line: #d9dde3; --faint: #d6dae0;
  --accent: #1659b6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --surface: #1d2128; --ink: #e8ebf0; --quiet: #a3acb9; --line: #343a44; --faint: #333942;
    --accent: #84b6ff;
  }
}
"""


def policy_of(style: str, script: str | None, images: str) -> str:
    """The content security policy of a page: one style sheet, one script or none, and nothing from a network.

    Args:
        style, script: as they stand in the page, between their tags.
        images: where images come from, such as `data:`.
    """
    sources = {"default-src": "'none'", "img-src": images, "style-src": _hash(style)}
    sources |= {} if script is None else {"script-src": _hash(script)}
    sources |= {"base-uri": "'none'", "form-action": "'none'"}
    return "; ".join(f"{name} {value}" for name, value in sources.items())


def json_in_html(value: Any) -> str:
    """A value as JSON that may stand between the tags of a script of a type that browsers do not run."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """How a policy names an inline script or style sheet, so that the browser takes no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
