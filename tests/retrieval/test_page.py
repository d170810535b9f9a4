"""The page of thumbnails: one file, whatever the names are."""

import base64

from keras_mae.retrieval.page import Section, Tile, page
from tests.read_html import Read

NASTY = """<script>alert(1)</script>"'&amp; ' onerror=x"""


def test_names_are_escaped_and_nothing_is_fetched():
    tiles = [Tile(b"jpeg", NASTY, "0.9 < 1", first=True), Tile(None, "gone.png", "")]
    read = Read(page(NASTY, [NASTY], [Section(NASTY, tiles)]))
    assert "script" not in [tag for tag, _ in read.tags]
    assert read.texts.count(NASTY) == 5  # title, heading of the page and of the section, note, name
    (image,) = (attributes for tag, attributes in read.tags if tag == "img")
    assert image["alt"] == NASTY and set(image) == {"loading", "alt", "src"}
    assert image["src"] == "data:image/jpeg;base64," + base64.b64encode(b"jpeg").decode()
    assert "no picture" in read.texts and "0.9 < 1" in read.texts
    assert not {"link", "iframe", "script"} & {tag for tag, _ in read.tags}
    policy = next(attributes for _, attributes in read.tags if "http-equiv" in attributes)["content"]
    assert policy.startswith("default-src 'none'")
    assert any(attributes.get("content", "").startswith("width=device-width") for _, attributes in read.tags)
