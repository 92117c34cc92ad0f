"""Check a model folder and its destination, and upload it to the Hub in one commit."""

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
    """Raised if the Hub refuses the model; the message gives the reason and the fix."""


class UnreachableError(PublishingError):
    """Raised if the Hub cannot be asked: there is no token, or no network."""


@dataclass(frozen=True)
class Destination:
    """Describe where a model is uploaded to.

    Attributes:
        repo_id: `owner/name` of a model repository; created if missing.
        private: whether only the owner can see it.
        revision: a branch, created if missing, or a pull request `refs/pr/N`; None for `main`.
    """

    repo_id: str
    private: bool = True
    revision: str | None = None

    @property
    def is_branch(self) -> bool:
        """Whether the revision is a branch, which may have to be created."""
        return self.revision is not None and not PULL_REQUEST.fullmatch(self.revision)


@dataclass
class Upload:
    """Hold what an upload would change, and the problems that prevent it.

    Attributes:
        files: to upload, with their sizes in bytes.
        removed: files of an earlier model on the Hub, which would be loaded with the new one.
        problems: one line each; nothing is uploaded if there are any.
        unchecked: why the destination was not checked in a dry run, None if it was.
    """

    files: dict[PurePosixPath, int]
    removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unchecked: str | None = None


def plan_upload(folder: Path, destination: Destination, dry_run: bool = False) -> Upload:
    """Check the folder and the destination without changing anything; the result has all problems found.

    In a dry run it is no problem if the Hub cannot be asked about the destination.
    """
    if not folder.is_dir():
        return Upload({}, problems=[f"{folder} is not a folder"])
    upload = Upload({path: (folder / path).lstat().st_size for path in model_files(folder)})
    upload.problems += folder_problems(folder)
    refused = name_problems(destination)
    upload.problems += refused
    if not refused:
        try:
            upload.problems += _access_problems(destination)
            upload.problems += _hub_card_problems(folder / CARD)
            upload.removed = _files_of_earlier_model(destination, upload.files)
        except PublishingError as error:
            if dry_run and isinstance(error, UnreachableError):
                upload.unchecked = str(error)
            else:
                upload.problems.append(str(error))
    return upload


def destination_problems(destination: Destination) -> list[str]:
    """Return why a model cannot be uploaded there, one line each, without changing anything."""
    try:
        return name_problems(destination) or list(_access_problems(destination))
    except PublishingError as error:
        return [str(error)]


def send(folder: Path, upload: Upload, destination: Destination, message: str) -> str:
    """Create the repository and the branch if missing, and upload all files in one commit; return its URL.

    With one commit, even of large weights, the Hub never shows an incomplete model.

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
        if destination.is_branch:
            api.create_branch(destination.repo_id, branch=str(destination.revision), exist_ok=True)
        done = api.create_commit(destination.repo_id, operations, commit_message=message, revision=destination.revision)
    return done.commit_url


def name_problems(destination: Destination) -> list[str]:
    """Return why no repository can have this name, or no upload go to this revision."""
    problems = []
    try:
        validate_repo_id(destination.repo_id)
    except errors.HFValidationError as error:
        problems.append(f"{destination.repo_id!r} cannot be the name of a repository: {error}")
    else:
        if "/" not in destination.repo_id:
            problems.append(f"{destination.repo_id!r} has no owner; write owner/{destination.repo_id}")
    if destination.revision is not None and COMMIT.fullmatch(destination.revision):
        problems.append(f"revision {destination.revision} is a commit, which cannot change; give a branch")
    return problems


def _access_problems(destination: Destination) -> Iterator[str]:
    api = HfApi()
    with _clear_errors(destination):
        me = api.whoami()
        owner = destination.repo_id.split("/")[0]
        mine = [me["name"], *(each["name"] for each in me.get("orgs", []))]
        if owner not in mine:
            yield f"the token belongs to {me['name']}, who cannot write to {owner}; use one of: {', '.join(mine)}"
        if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
            yield "the token is read-only; create one with write access and log in with it (hf auth login)"
        if owner not in mine or not api.repo_exists(destination.repo_id):
            return
        if bool(api.model_info(destination.repo_id).private) != destination.private:
            actual, fix = ("public", "add --public") if destination.private else ("private", "leave out --public")
            recipe = f"hub_private_repo: {str(not destination.private).lower()}"
            yield (
                f"{destination.repo_id} exists and is {actual}; {fix} (in a recipe, {recipe}), or change it in the "
                "repository's settings"
            )
        if destination.revision is not None and not destination.is_branch:
            api.model_info(destination.repo_id, revision=destination.revision)


def _hub_card_problems(path: Path) -> list[str]:
    """Return the problems that the check of the Hub finds; `folder_problems` has found the others."""
    try:
        card = ModelCard.load(path)
    except (ValueError, OSError):
        return []
    with _clear_errors(None):
        try:
            card.validate()
        except ValueError as error:
            return [f"{path.name}: the Hub rejects the metadata: {' '.join(str(error).split())}"]
    return []


def _files_of_earlier_model(destination: Destination, files: dict[PurePosixPath, int]) -> list[str]:
    api = HfApi()
    with _clear_errors(destination):
        if not api.repo_exists(destination.repo_id):
            return []
        revision = destination.revision
        if destination.is_branch and not api.revision_exists(destination.repo_id, str(revision)):
            revision = None  # a new branch starts from main
        existing = map(PurePosixPath, api.list_repo_files(destination.repo_id, revision=revision))
        return [str(path) for path in existing if belongs_to_model(path) and path not in files]


@contextlib.contextmanager
def _clear_errors(destination: Destination | None) -> Iterator[None]:
    """Raise errors of the Hub and the network as a `PublishingError`, one sentence with the fix."""
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise UnreachableError("there is no token; log in with `hf auth login`, or set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        revision = destination.revision if destination else None
        raise PublishingError(f"revision {revision} does not exist; give a branch") from error
    except errors.OfflineModeIsEnabled as error:
        raise UnreachableError("HF_HUB_OFFLINE is set, so the Hub cannot be reached; unset it") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = error.server_message or error.response.headers.get("X-Error-Message") or str(error).splitlines()[0]
        fixes = {
            401: "the token is invalid; log in again with `hf auth login`, or set HF_TOKEN to another",
            403: "the token has no permission; use one with write access to the repository",
            404: "the repository does not exist, or the token has no access to it",
        }
        raise PublishingError(f"the Hub answered {status} ({said}): {fixes.get(status, 'try again later')}") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of httpx, whose import name has changed
        endpoint = HfApi().endpoint
        raise UnreachableError(f"{endpoint} cannot be reached: {error}; check the network") from error
