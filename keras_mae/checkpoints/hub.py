"""Files of weights in repositories of the Hugging Face Hub, and in folders like them."""

from __future__ import annotations

import dataclasses
import glob
import os
import posixpath
import re
from collections.abc import Iterable
from types import ModuleType

from keras_mae.checkpoints.reading import KERAS, SAFETENSORS, TORCH
from keras_mae.registry import listed

SCHEME = "hf://"
_PREFERRED = ("model.safetensors", "pytorch_model.bin")
_KERAS_HUB = "model.weights.h5"
_FORM = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(refs/\w+/[^/]+|[^/]+))?(?:/(.+))?")


@dataclasses.dataclass(frozen=True)
class Source:
    """What an hf:// source names.

    Attributes:
        repository: its owner and name, `OWNER/NAME`.
        revision: a branch, a tag or a commit; None for the main branch.
        file: a path in the repository; None for its one file of weights.
    """

    repository: str
    revision: str | None = None
    file: str | None = None


def parse(source: str) -> Source:
    """The parts of an hf:// source.

    Raises:
        ValueError: for another form.
    """
    found = _FORM.fullmatch(source)
    if found is None:
        raise ValueError(f"a repository is written hf://OWNER/NAME, with @REVISION or /FILE behind it; got {source}")
    return Source(*found.groups())


def depth(source: str) -> int:
    """The number of folders that the file of an hf:// source lies below its repository; 0 for other sources."""
    return (parse(source).file or "").count("/") if source.startswith(SCHEME) else 0


def choose_file(names: Iterable[str], source: str) -> str:
    """The file of weights among the files of a folder or repository.

    Raises:
        ValueError: if there is none, if there are several, or if the weights are in parts.
    """
    names = sorted(names)
    if {_KERAS_HUB, "config.json"} <= set(names) and not set(_PREFERRED) & set(names):
        return _KERAS_HUB
    for name in _PREFERRED:
        if name in names:
            return name
    parts = [name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))]
    if parts:
        raise ValueError(
            f"{source} holds its weights in several files ({parts[0]}), which is not supported: save them in one with "
            "its library, in PyTorch model.save_pretrained(FOLDER, max_shard_size='100GB')"
        )
    for endings in (SAFETENSORS, TORCH, KERAS):
        found = [name for name in names if name.lower().endswith(endings) and "/" not in name]
        if len(found) == 1:
            return found[0]
        if found:
            example = f"{source.rstrip('/')}/{found[0]}"
            raise ValueError(f"{source} holds several files of weights: {listed(found)}; name one, such as {example}")
    known = ", ".join((*SAFETENSORS, *TORCH, *KERAS))
    raise ValueError(f"{source} holds no file of weights ({known}), but {listed(names) or 'nothing'}")


def import_hub(purpose: str) -> ModuleType:
    """Imports huggingface_hub, without its telemetry; raises a ValueError if it is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # versions of installed libraries, in each request
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(f"huggingface_hub is needed {purpose}: pip install 'keras-mae[hub]'") from error
    return huggingface_hub


def download(source: str) -> str:
    """Downloads the weights that an hf:// source names, and `config.json` and `README.md`; returns the local file.

    The files lie in the cache of huggingface_hub, under the names that they have in the repository. What is there
    already needs no network.

    Raises:
        ValueError: in one line, if huggingface_hub is missing, the repository is not there or not open to the user, or
            it cannot be reached and its files are not in the cache.
    """
    hub, named = import_hub(f"to download {source}"), parse(source)
    errors = hub.errors
    try:
        info = hub.HfApi().model_info(named.repository, revision=named.revision)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        file = named.file or choose_file(names, source)
        if file not in names:
            raise errors.EntryNotFoundError(f"there is no file {file} among {listed(names)}")
        beside = posixpath.join(posixpath.dirname(file), "config.json")
        wanted = [glob.escape(name) for name in (file, beside, "README.md")]
        wanted += ["*.json"] if file == _KERAS_HUB else []  # the image converter's, among others
        folder = hub.snapshot_download(named.repository, revision=named.revision, allow_patterns=wanted)
        return os.path.join(folder, *file.split("/"))
    except errors.GatedRepoError as error:
        raise ValueError(
            f"the authors of {source} ask for consent to their conditions: give it on the page of the repository, and "
            "log in with: hf auth login"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ValueError(
            f"there is no repository {named.repository}, or it is private; if it is yours, log in with: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(
            f"{named.repository} has no revision {named.revision}; name a branch, tag or commit"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        return _cached(hub, source, named, error)
    except errors.EntryNotFoundError as error:
        raise ValueError(f"{source}: {one_line(error)}") from error
    except ValueError:
        raise
    except Exception as error:  # of the library for HTTP, which changes with the version of huggingface_hub
        return _cached(hub, source, named, error)


def _cached(hub: ModuleType, source: str, named: Source, cause: Exception) -> str:
    """The file in the cache of huggingface_hub, if there is no network."""
    try:
        folder = hub.snapshot_download(
            named.repository, revision=named.revision, local_files_only=True, allow_patterns=["config.json"]
        )
        path = os.path.join(folder, *(named.file or choose_file(os.listdir(folder), source)).split("/"))
    except (hub.errors.LocalEntryNotFoundError, ValueError):
        path = ""
    if not os.path.exists(path):
        raise ValueError(
            f"could not download {source} ({type(cause).__name__}: {one_line(cause)}); without a network, fetch the "
            "repository's files on a machine that has one, and pass the path of their folder"
        ) from cause
    return path


def one_line(error: BaseException, limit: int = 200) -> str:
    """An error's message in a line."""
    return " ".join(str(error).split())[:limit]
