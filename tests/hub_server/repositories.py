"""What the Hub of the tests stores: commits with their trees, under the names and hashes of git and the Hub."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from typing import Any

COMMIT = re.compile("[0-9a-f]{40}")


class HubError(Exception):
    """An answer other than success: status, the Hub's error code and a sentence."""

    def __init__(self, status: int, code: str, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self.status, self.headers = status, {name: value for name, value in headers.items() if value}


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit: its content, and whether it is stored as a large file."""

    content: bytes
    is_large: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        """The name that git gives the content, for a large file that of its pointer."""
        content = self.content
        if self.is_large:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(content)}\n"
            content = pointer.encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_large else self.blob_id

    def entry(self, path: str) -> dict[str, Any]:
        """What a listing says about the file."""
        large = {"lfs": {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}} if self.is_large else {}
        return {"type": "file", "oid": self.blob_id, "size": len(self.content), "path": path, **large}


@dataclass
class Repository:
    """Commits by their ids, each a title and a tree; branches point at commits."""

    name: str
    private: bool
    commits: dict[str, tuple[str, dict[str, StoredFile]]] = field(default_factory=dict)
    branches: dict[str, list[str]] = field(default_factory=lambda: {"main": []})  # oldest commit first

    def commit(self, branch: str, title: str, tree: dict[str, StoredFile]) -> str:
        """Put a tree on a branch; returns the commit's id."""
        number = f"{self.name} {branch} {len(self.commits)} {title}"
        commit = hashlib.sha1(number.encode()).hexdigest()
        self.commits[commit] = (title, tree)
        self.branches[branch].append(commit)
        return commit

    def resolve(self, revision: str) -> str:
        """The commit that a branch or the id of a commit names."""
        if revision in self.branches:
            return self.branches[revision][-1]
        if revision in self.commits:
            return revision
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")


class Hub:
    """All repositories, and the large files uploaded so far."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.lock = threading.RLock()

    def repository(self, name: str, user: str | None, can_write: bool | None = None) -> Repository:
        """The repository, if this user may read it; with `can_write` given, if the user may also write to it."""
        found = self.repositories.get(name)
        if found is None or (found.private and name.split("/")[0] != user):
            if user is None:
                raise HubError(401, "RepoNotFound", "Repository not found")
            raise HubError(404, "RepoNotFound", "Repository not found")
        if can_write is not None and not (can_write and name.split("/")[0] == user):
            raise HubError(403, "", "you must use a write token to upload to a repository")
        return found
