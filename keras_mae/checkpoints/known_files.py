"""Published files that are known by URL, and the download of any file."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
import urllib.parse

import keras

_log = logging.getLogger("keras_mae")
_CC_BY_NC = "CC-BY-NC 4.0"
_told: set[str] = set()


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """A published checkpoint.

    Attributes:
        url: its address.
        format: the format to load it with.
        preset: the preset that it fits.
        megabytes: its size: the number of parameters at 4 bytes each.
        md5: the first digits of its MD5, as its authors publish them; None if they do not.
        licence: of the weights.
        holds: its contents.
    """

    url: str
    format: str
    preset: str
    megabytes: int
    md5: str | None
    licence: str
    holds: str


_OFFICIAL = "https://dl.fbaipublicfiles.com/mae"
_ENCODER, _FULL, _CLASSIFIER = "encoder", "encoder and decoder", "classifier, average pooling, 1,000 classes"


def _official(name: str, preset: str, megabytes: int, md5: str | None, holds: str) -> KnownFile:
    return KnownFile(f"{_OFFICIAL}/{name}.pth", "mae_torch", preset, megabytes, md5, _CC_BY_NC, holds)


# conversions of the official weights: their licence goes with them, whatever a model card says
def _hugging_face(name: str, format: str, preset: str, megabytes: int, holds: str) -> KnownFile:
    return KnownFile(f"https://huggingface.co/{name}", format, preset, megabytes, None, _CC_BY_NC, holds)


# Checksums: README.md and FINETUNE.md of github.com/facebookresearch/mae, which print six digits. The visualization
# files are the only official ones with a decoder that its README links to; they were trained on plain pixels, the
# pretrained and fine-tuned ones on normalised pixels.
KNOWN_FILES: tuple[KnownFile, ...] = (
    _official("pretrain/mae_pretrain_vit_base", "vit_base_patch16", 343, "8cad7c", _ENCODER),
    _official("pretrain/mae_pretrain_vit_large", "vit_large_patch16", 1213, "b8b06e", _ENCODER),
    _official("pretrain/mae_pretrain_vit_huge", "vit_huge_patch14", 2523, "9bdbb0", _ENCODER),
    _official("visualize/mae_visualize_vit_base", "mae_vit_base_patch16", 448, None, _FULL),
    _official("visualize/mae_visualize_vit_large", "mae_vit_large_patch16", 1318, None, _FULL),
    _official("visualize/mae_visualize_vit_large_ganloss", "mae_vit_large_patch16", 1318, None, _FULL),
    _official("finetune/mae_finetuned_vit_base", "vit_base_patch16", 346, "1b25e9", _CLASSIFIER),
    _official("finetune/mae_finetuned_vit_large", "vit_large_patch16", 1217, "51f550", _CLASSIFIER),
    _official("finetune/mae_finetuned_vit_huge", "vit_huge_patch14", 2528, "2541f2", _CLASSIFIER),
    *(
        _hugging_face(f"facebook/vit-mae-{size}/resolve/main/pytorch_model.bin", "hf", preset, megabytes, _FULL)
        for size, preset, megabytes in (
            ("base", "mae_vit_base_patch16", 448),
            ("large", "mae_vit_large_patch16", 1318),
            ("huge", "mae_vit_huge_patch14", 2628),
        )
    ),
    *(
        _hugging_face(f"timm/{preset}_224.mae/resolve/main/model.safetensors", "timm", preset, megabytes, _ENCODER)
        for preset, megabytes in (("vit_base_patch16", 343), ("vit_large_patch16", 1213), ("vit_huge_patch14", 2523))
    ),
)


def local_path(path_or_url: str | os.PathLike) -> str:
    """The path of a file; a URL is downloaded into Keras' cache once, and checked if its checksum is known.

    The licence of a file in `KNOWN_FILES`, found by its URL or an official file name, is logged once a process.

    Args:
        path_or_url: a path, or a URL that begins with http:// or https://.

    Raises:
        ValueError: if the download fails, or its checksum differs.
    """
    path = os.fspath(path_or_url)
    is_url = re.match(r"https?://", path) is not None
    known = _known(path, is_url)
    if known is not None and known.licence not in _told:
        _told.add(known.licence)
        text = "%s: the authors publish the weights under %s, which excludes commercial use"
        _log.warning(text, path, known.licence)
    return _download(path, known) if is_url else path


def _known(path: str, is_url: bool) -> KnownFile | None:
    for known in KNOWN_FILES:
        if is_url and known.url == path.partition("?")[0]:
            return known
        if not is_url and known.url.startswith(_OFFICIAL) and known.url.endswith(f"/{os.path.basename(path)}"):
            return known
    return None


def _download(url: str, known: KnownFile | None) -> str:
    parts = urllib.parse.urlsplit(url)
    name = re.sub(r"[^\w.-]+", "--", f"{parts.netloc}{parts.path}")  # many files are called model.safetensors
    try:
        path = keras.utils.get_file(name, origin=url, cache_subdir="keras_mae")
    except Exception as error:  # Keras raises a bare Exception
        raise ValueError(
            f"could not download {url} ({error}); without a network, fetch the file on a machine that has one, and "
            "pass its path"
        ) from error
    if known is None or known.md5 is None:
        _log.info("%s: no checksum of this file is known", url)
        return path
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if not digest.startswith(known.md5):
        os.remove(path)
        raise ValueError(
            f"{url}: the MD5 of the file is {digest}, and should begin with {known.md5}. The file was removed: try "
            "again, and do not use the file if the MD5 still differs"
        )
    return path
