"""The upload of a folder with a model card to the Hugging Face Hub."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

from keras_mae.checkpoints import hub
from keras_mae.checkpoints.licences import licence_beside
from keras_mae.export.loading_lines import for_repository
from keras_mae.export.model_card import README
from keras_mae.export.weights_folder import CONFIG, KERAS_FILE, TIMM_FILE

_log = logging.getLogger("keras_mae")
CURVE = "loss.png"


def check_folder(folder: str) -> None:
    """Raises a ValueError for a folder that lacks a model card or weights."""
    readme = os.path.join(folder, README)
    if not os.path.isdir(folder):
        raise ValueError(f"there is no folder {folder}; keras-mae card --run=RUN --output={folder} makes one")
    if not os.path.isfile(readme):
        raise ValueError(f"{folder} has no model card ({README}); keras-mae card --run=RUN --output=DIR makes one")
    if licence_beside(readme) is None:
        raise ValueError(f"{readme} is no model card: it does not begin with ---, and lines such as license: mit")
    hub.choose_file(os.listdir(folder), folder)


def check_access(target: str) -> tuple[Any, str]:
    """The library of the Hub, and the repository `OWNER/NAME` of an hf:// target.

    Raises:
        ValueError: for another form of target, without the library, or without a token.
    """
    named = hub.parse(target)
    if named.revision or named.file:
        raise ValueError(f"a repository to write to is hf://OWNER/NAME, without a revision or a file; got {target}")
    library = hub.import_hub(f"to write {target}")
    if library.get_token() is None:
        raise ValueError("there is no token of the Hugging Face Hub: log in with hf auth login, or set HF_TOKEN")
    return library, named.repository


def upload(folder: str, target: str, private: bool = False) -> str:
    """Creates a repository if it is not there, and uploads a folder in one commit, so that all of it is there or none.

    Lines of the card that load the folder load the repository afterwards. Weights of an earlier upload that are not in
    the folder are removed.

    Args:
        folder: with a model card and weights; without folders in it.
        target: `hf://OWNER/NAME`.
        private: whether a new repository can be seen by its owner alone.

    Returns:
        The address of the repository.

    Raises:
        ValueError: in one line, if there is no token, the Hub refuses it, the repository is public where a private one
            is asked for, or the connection is lost.
    """
    check_folder(folder)
    library, repository = check_access(target)
    api = library.HfApi()
    try:
        with tempfile.TemporaryDirectory() as aside:
            readme = os.path.join(folder, README)
            with open(readme, encoding="utf-8") as file:
                text = for_repository(file.read(), repository)
            address = _create(library, api, repository, private)
            card = os.path.join(aside, README)
            with open(card, "w", encoding="utf-8") as file:
                file.write(text)
            api.create_commit(
                repo_id=repository,
                operations=_operations(library, api, folder, card, repository),
                commit_message="A model of keras_mae",
            )
        return address
    except ValueError as error:
        if getattr(error, "response", None) is None:
            raise
        raise _refused(library, repository, error) from error
    except Exception as error:  # of the library for HTTP, which changes with the version of huggingface_hub
        raise _refused(library, repository, error) from error


def _create(library: Any, api: Any, repository: str, private: bool) -> str:
    """The address of a repository, which is created if it is not there."""
    try:
        return str(api.create_repo(repository, private=private))
    except library.errors.HfHubHTTPError as error:
        if _status(error) != 409:
            raise
    if private and not api.model_info(repository).private:
        raise ValueError(
            f"{repository} is there already, and is public: --private is for a new repository; make it private on its "
            "page, or name another"
        )
    _log.info("%s is there already: a new commit replaces its files", repository)
    return str(api.create_repo(repository, exist_ok=True))


def _operations(library: Any, api: Any, folder: str, card: str, repository: str) -> list[Any]:
    """The files to add, and the files of earlier uploads to delete."""
    files = {name: os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not name.startswith(".")}
    files = {name: path for name, path in files.items() if os.path.isfile(path)} | {README: card}
    earlier = {"model.safetensors", TIMM_FILE, KERAS_FILE, CONFIG, CURVE} & set(api.list_repo_files(repository))
    return [
        *(library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()),
        *(library.CommitOperationDelete(path_in_repo=name) for name in sorted(earlier - set(files))),
    ]


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _refused(library: Any, repository: str, error: Exception) -> ValueError:
    """The error of an upload, in a line."""
    status, said = _status(error), hub.one_line(error)
    if isinstance(error, library.errors.HFValidationError):
        return ValueError(f"{repository} is no name of a repository: {said}")
    if status in (401, 403) or isinstance(error, library.errors.RepositoryNotFoundError):
        return ValueError(
            f"the Hugging Face Hub refused to write to {repository} with this token: it has to be yours or your "
            "organisation's, with a token for writing (hf auth login, or HF_TOKEN)"
        )
    if status == 409 or status == 412:
        return ValueError(f"{repository} was changed by someone else meanwhile, and nothing was written: push again")
    return ValueError(
        f"the upload to {repository} did not come to its end ({type(error).__name__}: {said}): all of it is there, or "
        "nothing; push again"
    )
