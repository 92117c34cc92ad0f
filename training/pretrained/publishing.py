"""A model folder on its way to the Hub: looked through first, then sent in one commit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, errors
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, but not re-exported

from ..system.output_folder import CARD
from .model_folder import belongs_to_model, folder_problems, model_files

PULL_REQUEST = re.compile(r"refs/pr/\d+")
COMMIT = re.compile(r"[0-9a-f]{40}")


class PublishingError(ValueError):
    """The Hub does not take the model; the message says why and what to do."""


@dataclass(frozen=True)
class Destination:
    """Where a model goes.

    Attributes:
        repo_id: `owner/name` of a model repository, which is made if there is none.
        private: whether only its owner sees it.
        revision: a branch, which is made if there is none, or a pull request `refs/pr/N`; left out: `main`.
    """

    repo_id: str
    private: bool = True
    revision: str | None = None

    @property
    def makes_branch(self) -> bool:
        """Whether the revision is a branch that may have to be made."""
        return self.revision is not None and not PULL_REQUEST.fullmatch(self.revision)


@dataclass
class Upload:
    """What would happen, and why it must not.

    Attributes:
        files: that go to the Hub, with their sizes in bytes.
        removed: files of an earlier model, which are on the Hub and would mix with the new one.
        problems: one line each; nothing may be sent while there are any.
    """

    files: dict[PurePosixPath, int]
    removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def plan_upload(folder: Path, destination: Destination) -> Upload:
    """Look through the folder and ask the Hub, without changing anything; every problem found is in the result."""
    if not folder.is_dir():
        return Upload({}, problems=[f"{folder} is no folder"])
    upload = Upload({path: (folder / path).lstat().st_size for path in model_files(folder)})
    upload.problems += folder_problems(folder)
    wrong_names = _name_problems(destination)
    upload.problems += wrong_names
    if not wrong_names:
        try:
            upload.problems += _access_problems(destination)
            upload.problems += _problems_of_card(folder / CARD)
            upload.removed = _left_from_earlier(destination, upload.files)
        except PublishingError as error:
            upload.problems.append(str(error))
    return upload


def send(folder: Path, upload: Upload, destination: Destination, message: str) -> str:
    """Make the repository and the branch if need be, and send all files in one commit; returns its address.

    The Hub shows the new model whole or not at all: not even large weights come in several commits.

    Raises:
        PublishingError: the upload has problems, or the Hub refuses it.
    """
    if upload.problems:
        raise PublishingError("; ".join(upload.problems))
    api = HfApi()
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationDelete(name) for name in upload.removed),
        *(CommitOperationAdd(str(path), folder / path) for path in upload.files),
    ]
    with _clear_errors(destination):
        api.create_repo(destination.repo_id, private=destination.private, exist_ok=True)
        if destination.makes_branch:
            api.create_branch(destination.repo_id, branch=str(destination.revision), exist_ok=True)
        done = api.create_commit(destination.repo_id, operations, commit_message=message, revision=destination.revision)
    return done.commit_url


def _name_problems(destination: Destination) -> list[str]:
    problems = []
    try:
        validate_repo_id(destination.repo_id)
    except errors.HFValidationError as error:
        problems.append(f"{destination.repo_id!r} cannot be the name of a repository: {error}")
    else:
        if "/" not in destination.repo_id:
            problems.append(f"{destination.repo_id!r} names no owner; write owner/{destination.repo_id}")
    if destination.revision is not None and COMMIT.fullmatch(destination.revision):
        problems.append(f"revision {destination.revision} is a commit, which cannot change; give the name of a branch")
    return problems


def _access_problems(destination: Destination) -> Iterator[str]:
    api = HfApi()
    with _clear_errors(destination):
        me = api.whoami()
        owner = destination.repo_id.split("/")[0]
        mine = [me["name"], *(each["name"] for each in me.get("orgs", []))]
        if owner not in mine:
            yield f"the token belongs to {me['name']}, who may not write to {owner}; give one of: {', '.join(mine)}"
        if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
            yield "the token may only read; make one that may write and log in with it (hf auth login)"
        if owner not in mine or not api.repo_exists(destination.repo_id):
            return
        if bool(api.model_info(destination.repo_id).private) != destination.private:
            there, mend = ("public", "add --public") if destination.private else ("private", "leave out --public")
            yield f"{destination.repo_id} exists and is {there}; {mend}, or change it in the repository's settings"
        if destination.revision is not None and not destination.makes_branch:
            api.model_info(destination.repo_id, revision=destination.revision)


def _problems_of_card(path: Path) -> list[str]:
    """What the Hub's own check finds. What can be seen without it is found before."""
    try:
        card = ModelCard.load(path)
    except (ValueError, OSError):
        return []
    with _clear_errors(None):
        try:
            card.validate()
        except ValueError as error:
            return [f"{path.name}: the Hub does not take the metadata: {' '.join(str(error).split())}"]
    return []


def _left_from_earlier(destination: Destination, files: dict[PurePosixPath, int]) -> list[str]:
    api = HfApi()
    with _clear_errors(destination):
        if not api.repo_exists(destination.repo_id):
            return []
        revision = destination.revision
        if destination.makes_branch and not api.revision_exists(destination.repo_id, str(revision)):
            revision = None  # a new branch starts from main
        there = map(PurePosixPath, api.list_repo_files(destination.repo_id, revision=revision))
        return [str(path) for path in there if belongs_to_model(path) and path not in files]


@contextlib.contextmanager
def _clear_errors(destination: Destination | None) -> Iterator[None]:
    """Turn the errors of the Hub and of the network into one sentence with the mend."""
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise PublishingError("there is no token; log in with `hf auth login`, or set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        revision = destination.revision if destination else None
        raise PublishingError(f"revision {revision} does not exist; give the name of a branch") from error
    except errors.OfflineModeIsEnabled as error:
        raise PublishingError("the Hub may not be asked while HF_HUB_OFFLINE is set; unset it") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = error.server_message or error.response.headers.get("X-Error-Message") or str(error).splitlines()[0]
        mends = {
            401: "the token is not valid; log in again with `hf auth login`, or set HF_TOKEN to another",
            403: "the token has no permission for this; give one that may write to the repository",
            404: "the repository is not there, or the token may not see it",
        }
        raise PublishingError(f"the Hub answered {status} ({said}): {mends.get(status, 'try again later')}") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of httpx, whose package has changed its name
        endpoint = HfApi().endpoint
        raise PublishingError(f"{endpoint} cannot be reached: {error}; is there a network?") from error
