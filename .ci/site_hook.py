"""What the site needs of mkdocs: the layout of the installed package, for mkdocstrings.

`trainers/` and `export/` lie beside `keras_mae/` in a checkout and inside it when installed; the reference shows the names
that users import.
"""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def on_startup(**_):
    """Makes `.build/site_sources/keras_mae` of links, as in `make check`."""
    folder = os.path.join(ROOT, ".build", "site_sources", "keras_mae")
    os.makedirs(folder, exist_ok=True)
    package = os.path.join(ROOT, "keras_mae")
    places = {name: os.path.join(package, name) for name in os.listdir(package) if name != "__pycache__"}
    places |= {name: os.path.join(ROOT, name) for name in ("trainers", "export")}
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    for name, place in places.items():
        os.symlink(place, os.path.join(folder, name))
