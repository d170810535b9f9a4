"""Weights by name, URL, repository, folder or path: published files, the download of any file, and their licences."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
import urllib.parse

import keras

from keras_mae.checkpoints import hub
from keras_mae.checkpoints.licences import condition_of, licence_beside, licence_inside
from keras_mae.registry import near_names

_log = logging.getLogger("keras_mae")
_CC_BY_NC = "cc-by-nc-4.0"
_told: set[str] = set()


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """A published checkpoint.

    Attributes:
        name: the name to load it by.
        url: its address.
        format: the format to load it with.
        preset: the preset that it fits.
        megabytes: its size: the number of parameters at 4 bytes each.
        md5: the first digits of its MD5, as its authors publish them; None if they do not.
        licence: of the weights, as Hugging Face's model cards write it.
        holds: its contents.
    """

    name: str
    url: str
    format: str
    preset: str
    megabytes: int
    md5: str | None
    licence: str
    holds: str


_OFFICIAL = "https://dl.fbaipublicfiles.com/mae"
_ENCODER, _FULL, _CLASSIFIER = "encoder", "encoder and decoder", "classifier, average pooling, 1,000 classes"


def _official(name: str, file: str, preset: str, megabytes: int, md5: str | None, holds: str) -> KnownFile:
    return KnownFile(name, f"{_OFFICIAL}/{file}.pth", "mae_torch", preset, megabytes, md5, _CC_BY_NC, holds)


# conversions of the official weights: their licence goes with them, whatever a model card says
def _hugging_face(name: str, file: str, format: str, preset: str, megabytes: int, holds: str) -> KnownFile:
    return KnownFile(name, f"https://huggingface.co/{file}", format, preset, megabytes, None, _CC_BY_NC, holds)


_CONVERSIONS = re.compile(r"facebook/vit-mae-[\w.-]+|timm/[\w.-]+\.mae(_[\w.-]+)?")

# Checksums: README.md and FINETUNE.md of github.com/facebookresearch/mae, which print six digits. The visualization
# files are the only official ones with a decoder that its README links to; they were trained on plain pixels, the
# pretrained and fine-tuned ones on normalised pixels.
_BASE, _LARGE, _HUGE = "vit_base_patch16", "vit_large_patch16", "vit_huge_patch14"
KNOWN_FILES: tuple[KnownFile, ...] = (
    _official("mae_vit_base", "pretrain/mae_pretrain_vit_base", _BASE, 343, "8cad7c", _ENCODER),
    _official("mae_vit_large", "pretrain/mae_pretrain_vit_large", _LARGE, 1213, "b8b06e", _ENCODER),
    _official("mae_vit_huge", "pretrain/mae_pretrain_vit_huge", _HUGE, 2523, "9bdbb0", _ENCODER),
    _official("mae_vit_base_full", "visualize/mae_visualize_vit_base", f"mae_{_BASE}", 448, None, _FULL),
    _official("mae_vit_large_full", "visualize/mae_visualize_vit_large", f"mae_{_LARGE}", 1318, None, _FULL),
    _official(
        "mae_vit_large_full_ganloss", "visualize/mae_visualize_vit_large_ganloss", f"mae_{_LARGE}", 1318, None, _FULL
    ),
    _official("mae_vit_base_finetuned", "finetune/mae_finetuned_vit_base", _BASE, 346, "1b25e9", _CLASSIFIER),
    _official("mae_vit_large_finetuned", "finetune/mae_finetuned_vit_large", _LARGE, 1217, "51f550", _CLASSIFIER),
    _official("mae_vit_huge_finetuned", "finetune/mae_finetuned_vit_huge", _HUGE, 2528, "2541f2", _CLASSIFIER),
    *(
        _hugging_face(
            f"mae_vit_{size}_hf",
            f"facebook/vit-mae-{size}/resolve/main/pytorch_model.bin",
            "hf",
            f"mae_{preset}",
            megabytes,
            _FULL,
        )
        for size, preset, megabytes in (("base", _BASE, 448), ("large", _LARGE, 1318), ("huge", _HUGE, 2628))
    ),
    *(
        _hugging_face(
            f"mae_vit_{size}_timm",
            f"timm/{preset}_224.mae/resolve/main/model.safetensors",
            "timm",
            preset,
            megabytes,
            _ENCODER,
        )
        for size, preset, megabytes in (("base", _BASE, 343), ("large", _LARGE, 1213), ("huge", _HUGE, 2523))
    ),
)


def local_path(source: str | os.PathLike) -> str:
    """The path of a file of weights; what is on the network is downloaded once, and checked if its checksum is known.

    A licence that excludes commercial use, or has other conditions, is logged once a process.

    Args:
        source: the path of a file, or of a folder with one, such as a snapshot of a Hugging Face repository; the name
            of published weights in `KNOWN_FILES`, such as `mae_vit_base`; a URL that begins with http:// or https://;
            or a repository on the Hugging Face Hub: `hf://OWNER/NAME`, `hf://OWNER/NAME@REVISION` or
            `hf://OWNER/NAME/FILE`. In a folder and in a repository the file is `model.safetensors`, else
            `pytorch_model.bin`, else the only file of weights; a `config.json` comes beside it.

    Raises:
        ValueError: if there are no such weights, the download fails, or its checksum differs.
    """
    source = os.fspath(source)
    known = _known(source)
    if known is not None:
        _tell(source, known.licence)
    if _is_url(source):
        path = _download(source, known)
    elif source.startswith(hub.SCHEME):
        path = hub.download(source)
    elif os.path.isdir(source):
        path = os.path.join(source, hub.choose_file(os.listdir(source), source))
    elif known is not None and source == known.name and not os.path.exists(source):
        path = _download(known.url, known)
    else:
        _check_name(source)
        path = source
    licence = None if known is not None else licence_of(source, path)
    if licence is not None:
        _tell(source, licence)
    return path


def licence_of(source: str | os.PathLike, path: str) -> str | None:
    """The licence of weights, as Hugging Face's model cards write it, such as `cc-by-nc-4.0`; None if none is stated.

    Known files, and conversions of the official MAE weights, have that of the official ones, whatever a model card
    says. Others have the one that `save_checkpoint` has written into the file, else the one at the head of a README.md
    beside it.

    Args:
        source: as for `local_path`.
        path: the local file that `local_path` has found for it.
    """
    source = os.fspath(source)
    known = _known(source)
    repository = _repository(source)
    if known is not None:
        return known.licence
    if repository is not None and _CONVERSIONS.fullmatch(repository):
        return _CC_BY_NC
    return licence_inside(path) or licence_beside(path, hub.depth(source))


def has_plain_decoder(source: str | os.PathLike) -> bool:
    """Whether weights are official ones with a decoder, or a conversion of these: it predicts plain pixels."""
    source = os.fspath(source)
    known, repository = _known(source), _repository(source)
    if known is not None:
        return known.holds == _FULL
    return repository is not None and repository.startswith("facebook/") and bool(_CONVERSIONS.fullmatch(repository))


def _tell(source: str, licence: str) -> None:
    """Logs a licence with conditions, once a process."""
    condition = condition_of(licence)
    if condition is not None and licence not in _told:
        _told.add(licence)
        _log.warning("%s: the authors publish the weights under %s, which %s", source, licence, condition)


def _is_url(source: str) -> bool:
    return re.match(r"https?://", source) is not None


def _known(source: str) -> KnownFile | None:
    """The entry of a name, of a URL, or of a path with an official file name."""
    for known in KNOWN_FILES:
        if _is_url(source):
            if known.url == source.partition("?")[0]:
                return known
        elif source == known.name and not os.path.exists(source):
            return known
        elif known.url.startswith(_OFFICIAL) and known.url.endswith(f"/{os.path.basename(source)}"):
            return known
    return None


def _repository(source: str) -> str | None:
    """The repository `OWNER/NAME` of an hf:// source, of a URL, or of a path in the cache of Hugging Face's library."""
    if source.startswith(hub.SCHEME):
        return hub.parse(source).repository
    found = re.match(r"https?://huggingface\.co/([^/]+)/([^/]+)/", source)
    found = found or re.search(r"(?:^|[/\\])models--(.+?)--([^/\\]+)[/\\]", os.path.join(source, ""))
    return f"{found[1]}/{found[2]}" if found else None


def _check_name(source: str) -> None:
    """Refuses a word that is neither a path that exists nor a known name."""
    if os.path.exists(source) or re.fullmatch(r"\w+", source) is None:
        return
    names = [known.name for known in KNOWN_FILES]
    near = near_names(source, names)
    hint = f"did you mean {' or '.join(near)}? There are: " if near else ""
    raise ValueError(f"there is no file {source}, and no published weights have this name; {hint}{', '.join(names)}")


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
