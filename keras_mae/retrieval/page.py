"""A page of thumbnails in one HTML file, which opens without network."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Sequence

from keras_mae.html_page import PALETTE, policy_of

_STYLE = (
    PALETTE
    + """
body { margin: 0 auto; max-width: 1200px; padding: 16px; font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper) }
h1 { font-size: 1.4em; margin: 0 0 .3em } h2 { font-size: 1em; margin: 0 0 .6em; overflow-wrap: anywhere }
p { color: var(--quiet); margin: 0 0 1em; overflow-wrap: anywhere }
section { border-top: 1px solid var(--line); padding: 14px 0 }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)) }
img, .none { width: 100%; aspect-ratio: 1; display: block; border-radius: 4px; background: var(--surface) }
.none { display: flex; align-items: center; justify-content: center; color: var(--quiet); font-size: 12px }
.first img, .first .none { outline: 3px solid var(--accent); outline-offset: 1px }
b, span { display: block; font-size: 12px; line-height: 1.35; overflow-wrap: anywhere }
b { font-weight: 600; margin-top: 4px } span { color: var(--quiet) }
"""
)
# Nothing is fetched, and no script runs, whatever a name of an image contains
_POLICY = policy_of(_STYLE, None, "data:")


@dataclasses.dataclass(frozen=True)
class Tile:
    """An image on the page.

    Attributes:
        picture: a JPEG file's bytes; None for an image that cannot be read.
        name: of the image.
        caption: what is said of it, such as its similarity.
        first: whether it is the one that the others are compared with, and is framed.
    """

    picture: bytes | None
    name: str
    caption: str
    first: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and images."""

    heading: str
    tiles: Sequence[Tile]


def page(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """The text of an HTML file.

    Args:
        title: of the page.
        notes: sentences above the pictures.
        sections: the pictures.
    """
    told = "".join(f"<p>{html.escape(note)}</p>\n" for note in notes)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{told}{''.join(map(_section, sections))}</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    tiles = "\n".join(map(_tile, section.tiles))
    return f"<section>\n<h2>{html.escape(section.heading)}</h2>\n<ul>\n{tiles}\n</ul>\n</section>\n"


def _tile(tile: Tile) -> str:
    name = html.escape(tile.name)
    if tile.picture is None:
        picture = '<div class="none">no picture</div>'
    else:
        data = base64.b64encode(tile.picture).decode()
        picture = f'<img loading="lazy" alt="{name}" src="data:image/jpeg;base64,{data}">'
    kind = ' class="first"' if tile.first else ""
    return f"<li{kind}>{picture}<b>{name}</b><span>{html.escape(tile.caption)}</span></li>"
