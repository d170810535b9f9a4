"""The lines of Python that load a folder of weights in keras_mae, timm and transformers."""

from __future__ import annotations

import inspect
from typing import Any

from keras_mae.export.weights_folder import Weights
from keras_mae.models import ImageClassifier

HERE = "Run in this folder:"
# The same lines for a folder, and for a repository on the Hugging Face Hub
_PLACES = {
    HERE: "",
    '_checkpoint({}, ".", ': '_checkpoint({}, "hf://{repository}", ',
    'local_path(".")': 'local_path("hf://{repository}")',
    'from_pretrained("."': 'from_pretrained("{repository}"',
    '"local-dir:.", checkpoint_path="timm.safetensors"': '"hf-hub:{repository}", pretrained=True',
    '"local-dir:.", pretrained=True': '"hf-hub:{repository}", pretrained=True',
}


def for_repository(text: str, repository: str) -> str:
    """A card's text, whose lines load files of its folder, with lines that load a repository `OWNER/NAME`."""
    for here, there in _PLACES.items():
        for name in ("encoder", "classifier") if "{}" in here else ("",):
            text = text.replace(here.replace("{}", name), there.replace("{}", name).format(repository=repository))
    return text


def loading_lines(weights: Weights, pixel_dtype: str = "uint8") -> dict[str, str]:
    """The lines for each library that has the model: they make `images`, and `features` or `logits` of them.

    Args:
        weights: in a folder.
        pixel_dtype: of the images that the model was trained on, `uint8` or `uint16`.
    """
    lines = {"Keras": _keras(weights, pixel_dtype)}
    if weights.timm_file is not None:
        lines["timm"] = _timm(weights, pixel_dtype)
    if weights.config:
        lines["transformers"] = _transformers(weights, pixel_dtype)
    return lines


def _keras(weights: Weights, pixel_dtype: str) -> str:
    model, encoder = weights.model, getattr(weights.model, "encoder", weights.model)
    made = f"images = np.random.randint(0, {_levels(pixel_dtype)}, (2, {_sizes(encoder)}), '{pixel_dtype}')  # yours"
    made = made.replace("'", '"')
    if weights.format == "keras":
        return (
            "import numpy as np\n\nfrom keras_mae.checkpoints.known_files import local_path\n"
            "from keras_mae.models.saved_files import load_model_file\n\n"
            f'encoder = load_model_file(local_path("."))\n{made}\n'
            'features = encoder(images)  # "cls_token" and "patch_tokens"'
        )
    lines = f"import numpy as np\n\nimport keras_mae\n\nencoder = keras_mae.{_call(encoder)}\n"
    name, output = "encoder", 'features = encoder(images)  # "cls_token" and "patch_tokens"'
    if isinstance(model, ImageClassifier):
        name, output = "classifier", "logits = classifier(images)"
        lines += f'classifier = keras_mae.ImageClassifier(encoder, {model.num_classes}, pooling="{model.pooling}")\n'
    return f'{lines}keras_mae.load_checkpoint({name}, ".", "{weights.format}")\n{made}\n{output}'


def _timm(weights: Weights, pixel_dtype: str) -> str:
    own = "pretrained=True" if weights.format == "timm" else f'checkpoint_path="{weights.timm_file}"'
    output = "logits = model(pixels)"
    if not isinstance(weights.model, ImageClassifier):
        output = f"features = model.forward_features(pixels)  # {_tokens(weights)}"
    return _torch(weights, "import timm\nimport torch", f'timm.create_model("local-dir:.", {own})', output, pixel_dtype)


def _transformers(weights: Weights, pixel_dtype: str) -> str:
    is_classifier = isinstance(weights.model, ImageClassifier)
    if weights.format == "hf":
        (name,) = weights.config["architectures"]
        arguments = ", add_pooling_layer=False" if name == "ViTModel" else ""
    else:  # timm's model inside of one of transformers'
        name, arguments = "AutoModelForImageClassification" if is_classifier else "AutoModel", ""
    output = "logits = model(pixels).logits"
    if not is_classifier:
        output = f"features = model(pixels).last_hidden_state  # {_tokens(weights)}"
    imports = f"import torch\nfrom transformers import {name}"
    return _torch(weights, imports, f'{name}.from_pretrained("."{arguments})', output, pixel_dtype)


def _torch(weights: Weights, imports: str, model: str, output: str, pixel_dtype: str) -> str:
    pixels = getattr(weights.model, "encoder", weights.model).normalize_pixels
    mean, std = (f"torch.tensor({list(values)})" for values in (pixels.mean, pixels.std))
    return (
        f"{imports}\n\nmodel = {model}.eval()\n"
        f"mean, std = {mean}, {std}\n"
        f'pixels = (torch.tensor(images.astype("float32")) / {_levels(pixel_dtype) - 1} - mean) / std\n'
        f"pixels = pixels.permute(0, 3, 1, 2)  # channels first\n"
        f"with torch.no_grad():\n    {output}"
    )


def _tokens(weights: Weights) -> str:
    """The order of a model's tokens."""
    count = getattr(weights.model, "encoder", weights.model).num_prefix_tokens
    first = {0: "", 1: "the class token, then "}.get(count, f"{count} prefix tokens, then ")
    return f"{first}the patches, row by row"


def _levels(pixel_dtype: str) -> int:
    return 65536 if pixel_dtype == "uint16" else 256


def _sizes(encoder: Any) -> str:
    return ", ".join(map(str, encoder.image_shape))


def _call(encoder: Any) -> str:
    """The call that makes an encoder like this one: the arguments that differ from their defaults."""
    parameters, config = inspect.signature(type(encoder).__init__).parameters, encoder.get_config()
    for name in ("name", "dtype", "trainable", "drop_path_rate"):
        config.pop(name, None)
    given = {key: value for key, value in config.items() if key not in parameters or value != parameters[key].default}
    lines = "".join(f"    {key}={_literal(value)},\n" for key, value in given.items())
    return f"{type(encoder).__name__}(\n{lines})"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(tuple(value) if isinstance(value, list) else value)
