"""What the site needs of mkdocs: the layout of the installed package, for mkdocstrings, and the list of commands.

`trainers/` and `export/` lie beside `keras_mae/` in a checkout, and inside it when installed. The reference shows names
as users import them.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = "<!-- commands -->"


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


def on_page_markdown(markdown, **_):
    """Puts commands with their flags, and recipes, at the end of the page that asks for them."""
    if COMMANDS not in markdown:
        return markdown
    sys.path.insert(0, ROOT)
    from keras_mae import cli
    from keras_mae.trainers import recipes

    lines = []
    for name, command in cli.COMMANDS.items():
        lines += [f"## {name}", "", _sentence(command.summary), "", "| flag | meaning |", "|---|---|"]
        values = command.make_flags()
        for flag in (values[key] for key in values if key == values[key].name):
            needed = " **Needed.**" if flag.name in command.required else ""
            default = f" Default: `{flag.default}`." if flag.default not in (None, False, "", []) else ""
            lines.append(f"| `--{flag.name}` | {_sentence(flag.help.partition(chr(10))[0])}{default}{needed} |")
        lines.append("")
    lines += ["## All recipes", "", "| program | recipe | settings |", "|---|---|---|"]
    for program, names in recipes.by_program().items():
        lines += [f"| `{program}` | `{name}` | {_cell(recipes.title(name))} |" for name in names]
    return markdown.partition(COMMANDS)[0] + "\n".join(lines)


def _cell(text):
    """A text that stands in a table as it is: stars, bars and others have a meaning there."""
    return "".join(f"&#{ord(letter)};" if letter in "&<>|*_`[\\" else letter for letter in " ".join(text.split()))


def _sentence(text):
    text = _cell(text)
    return text if text.endswith(".") else f"{text}."
