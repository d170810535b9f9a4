"""Published files that we know, and how any file is fetched."""

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
        url: where it is.
        format: the format to load it with.
        preset: the preset that it fits.
        megabytes: its size: the number of parameters at 4 bytes each.
        md5: the first digits of its MD5, as its authors publish them; None if they do not.
        licence: of the weights.
        holds: what is in it.
    """

    url: str
    format: str
    preset: str
    megabytes: int
    md5: str | None
    licence: str
    holds: str

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]


_OFFICIAL = "https://dl.fbaipublicfiles.com/mae"
_HUGGING_FACE = "https://huggingface.co"
_ENCODER, _FULL, _CLASSIFIER = "encoder", "encoder and decoder", "classifier, average pooling, 1,000 classes"


def _official(name: str, preset: str, megabytes: int, md5: str | None, holds: str) -> KnownFile:
    return KnownFile(f"{_OFFICIAL}/{name}.pth", "mae_torch", preset, megabytes, md5, _CC_BY_NC, holds)


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
    # conversions of the official weights: their licence goes with them, whatever a model card says
    *(
        KnownFile(
            f"{_HUGGING_FACE}/facebook/vit-mae-{size}/resolve/main/pytorch_model.bin",
            "hf",
            f"mae_vit_{preset}",
            megabytes,
            None,
            _CC_BY_NC,
            _FULL,
        )
        for size, preset, megabytes in (
            ("base", "base_patch16", 448),
            ("large", "large_patch16", 1318),
            ("huge", "huge_patch14", 2628),
        )
    ),
    *(
        KnownFile(
            f"{_HUGGING_FACE}/timm/vit_{name}_224.mae/resolve/main/model.safetensors",
            "timm",
            f"vit_{name}",
            megabytes,
            None,
            _CC_BY_NC,
            _ENCODER,
        )
        for name, megabytes in (("base_patch16", 343), ("large_patch16", 1213), ("huge_patch14", 2523))
    ),
)


def local_path(path_or_url: str | os.PathLike) -> str:
    """The file itself; a URL is downloaded into Keras' cache once, and checked if its checksum is known.

    The licence of a file that we know, by its URL or, for the official ones, by its name, is told once a process.

    Args:
        path_or_url: a path, or a URL that begins with http:// or https://.

    Raises:
        ValueError: if the download fails, or its checksum is another.
    """
    path = os.fspath(path_or_url)
    is_url = re.match(r"https?://", path) is not None
    known = _known(path, is_url)
    if known is not None and known.licence not in _told:
        _told.add(known.licence)
        _log.warning(
            "%s: the weights are published by their authors under %s, which excludes commercial use",
            path,
            known.licence,
        )
    return _download(path, known) if is_url else path


def _known(path: str, is_url: bool) -> KnownFile | None:
    for known in KNOWN_FILES:
        if known.url == path.partition("?")[0] if is_url else _has_official_name(path, known):
            return known
    return None


def _has_official_name(path: str, known: KnownFile) -> bool:
    return known.url.startswith(_OFFICIAL) and known.file_name == os.path.basename(path)


def _download(url: str, known: KnownFile | None) -> str:
    parts = urllib.parse.urlsplit(url)
    name = re.sub(r"[^\w.-]+", "--", f"{parts.netloc}{parts.path}")  # many files are called model.safetensors
    try:
        path = keras.utils.get_file(name, origin=url, cache_subdir="keras_mae")
    except Exception as error:  # Keras raises a bare Exception
        raise ValueError(
            f"could not download {url} ({error}); where there is no network, fetch the file on a machine that has one, "
            "and pass its path"
        ) from error
    if known is None or known.md5 is None:
        _log.info("%s: no checksum of this file is known to us", url)
        return path
    digest = _md5(path)
    if not digest.startswith(known.md5):
        os.remove(path)
        raise ValueError(
            f"{url}: the MD5 of the file is {digest}, and should begin with {known.md5}. The file was removed: try "
            "again, and do not use it if that remains"
        )
    return path


def _md5(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
