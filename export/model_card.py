"""The model card: README.md of a folder of weights, with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence

from keras_mae.checkpoints.licences import condition_of
from keras_mae.export.loading_lines import HERE, loading_lines
from keras_mae.export.weights_folder import Weights
from keras_mae.models import ImageClassifier

README = "README.md"
TAG = "keras_mae"
# The licences that the Hub knows by name; another one is `other`, with its name beside it
_ON_THE_HUB = re.compile(
    r"apache-2\.0|mit|0bsd|afl-3\.0|artistic-2\.0|bsl-1\.0|bsd(-[23]-clause(-clear)?)?|cc|cc0-1\.0|"
    r"cc-by-(2\.[05]|[34]\.0)|cc-by-sa-[34]\.0|cc-by-nc-[234]\.0|cc-by-nd-4\.0|cc-by-nc-nd-[34]\.0|"
    r"cc-by-nc-sa-[234]\.0|ecl-2\.0|epl-[12]\.0|eupl-1\.[12]|agpl-3\.0|gfdl|gpl(-[23]\.0)?|lgpl(-2\.1|-3\.0)?|isc|"
    r"ms-pl|mpl-2\.0|odc-by|odbl|openrail(\+\+)?|osl-3\.0|postgresql|ofl-1\.1|ncsa|unlicense|zlib|pddl|"
    r"fair-noncommercial-research-license"
)


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a card says.

    Attributes:
        name: the title.
        summary: sentences on what the model is.
        method: the tag of its training, such as `masked-autoencoder`.
        licence: of the weights, as the Hub writes it; None if nobody has chosen one.
        origin: a sentence on where the licence comes from.
        data, recipe: what it was trained on, and how: values by their names.
        command: the line that trains such a model, with the settings that differ from the recipe's.
        quality: rows of measured numbers, each what was measured and the value.
        curve: the file of the loss curve, in the card's folder; None for none.
        pictures: files of pictures of reconstructions, likewise.
        versions: of the software, by name.
        pixel_dtype: of the images.
    """

    name: str
    summary: str
    method: str
    licence: str | None
    origin: str
    data: Mapping[str, str]
    recipe: Mapping[str, str]
    command: str
    quality: Sequence[tuple[str, str]]
    curve: str | None
    pictures: Sequence[str]
    versions: Mapping[str, str]
    pixel_dtype: str = "uint8"

    def text(self, weights: Weights) -> str:
        """The contents of README.md beside these weights."""
        parts = [
            self._front_matter(weights),
            f"# {self.name}\n\n{self.summary}",
            f"## Load it\n\n{self._lines(weights)}",
            f"## Data\n\n{_listed(self.data)}",
            f"## Recipe\n\n{_listed(self.recipe)}\n\nWith what differs from the recipe:\n\n```sh\n{self.command}\n```",
            self._training(),
            self._quality(),
            f"## Licence of the weights\n\n{self._licence()}",
            f"## Software\n\n{_listed(self.versions)}",
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    def _front_matter(self, weights: Weights) -> str:
        licence = self.licence or "other"
        known = _ON_THE_HUB.fullmatch(licence) is not None
        is_classifier = isinstance(weights.model, ImageClassifier)
        library = {"hf": "transformers", "timm": "timm"}.get(weights.format, "keras")
        also = [name for name in ("timm", "transformers") if weights.config and (weights.timm_file or name != "timm")]
        tags = ["masked-image-modeling", self.method, "vision-transformer", TAG, "keras", *also]
        lines = [
            f"license: {licence if known else 'other'}",
            *([] if known or self.licence is None else [f"license_name: {_yaml(licence)}"]),
            f"library_name: {library}",
            f"pipeline_tag: {'image-classification' if is_classifier else 'image-feature-extraction'}",
            "tags:",
            *(f"- {tag}" for tag in dict.fromkeys(tags)),
        ]
        return "---\n" + "\n".join(lines) + "\n---"

    def _lines(self, weights: Weights) -> str:
        blocks = loading_lines(weights, self.pixel_dtype)
        return "\n\n".join([HERE, *(f"In {library}:\n\n```python\n{lines}\n```" for library, lines in blocks.items())])

    def _training(self) -> str:
        curve = [f"![Loss by epoch]({self.curve})"] if self.curve else []
        shown = [f"![Images, what the network saw, and what it made of that]({name})" for name in self.pictures]
        return "\n\n".join(["## Training", *curve, *shown]) if curve or shown else ""

    def _quality(self) -> str:
        if not self.quality:
            return "## Measured quality\n\nNothing was measured on labelled images."
        rows = "\n".join(f"| {_cell(what)} | {value} |" for what, value in self.quality)
        return f"## Measured quality\n\n| what | value |\n|---|---|\n{rows}"

    def _licence(self) -> str:
        if self.licence is None:
            return self.origin
        condition = condition_of(self.licence)
        return f"{self.licence}{f', which {condition}' if condition else ''}. {self.origin}"


def _listed(values: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _yaml(text: str) -> str:
    """A text as a value in YAML, in quotes: JSON's strings are some."""
    return json.dumps(text)
