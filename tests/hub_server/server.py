"""A small Hub on 127.0.0.1: model repositories in memory, behind the endpoints that the real clients use.

    python tests/hub_server/server.py

prints its address and serves until it is ended. It stores commits as the Hub does (every commit a whole tree, every
file under the hash of its content), keeps private repositories from strangers, and says no with the Hub's status codes
and error headers. Weights travel by Git LFS with single uploads; it offers no Xet storage (`HF_HUB_DISABLE_XET=1`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from repositories import COMMIT, Hub, HubError, Repository, StoredFile

# Token -> whose it is, and whether it may write.
TOKENS = {"hf_write": ("user", True), "hf_read": ("user", False), "hf_stranger": ("stranger", True)}
DATE = "2020-01-01T00:00:00.000Z"


class Handler(BaseHTTPRequestHandler):
    """One request: finds the endpoint by method and path, and answers with JSON or a file."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the tests read standard output."""

    def handle_request(self) -> None:
        body = self.read_body()
        path = urlsplit(self.path).path
        try:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in method.split():
                    user, can_write = self.authenticate()
                    with self.hub.lock:
                        answer(Request(self, body, user, can_write), *map(unquote, match.groups()))
                    return
            raise HubError(501, "", f"this Hub has no {self.command} {path}")
        except HubError as error:
            self.respond({"error": str(error)}, error.status, error.headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def authenticate(self) -> tuple[str | None, bool]:
        """Whose token came along, and whether it may write."""
        header = self.headers.get("Authorization", "")
        if not header:
            return None, False
        try:
            return TOKENS[header.removeprefix("Bearer ")]
        except KeyError:
            raise HubError(401, "", "Invalid credentials in Authorization header") from None

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def respond(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@dataclass
class Request:
    """What an endpoint needs to answer."""

    handler: Handler
    body: bytes
    user: str | None
    can_write: bool

    @property
    def hub(self) -> Hub:
        return self.handler.hub

    @property
    def address(self) -> str:
        return f"http://{self.handler.headers['Host']}"

    def json(self) -> Any:
        return json.loads(self.body)

    def readable(self, name: str) -> Repository:
        return self.hub.repository(name, self.user)

    def writable(self, name: str) -> Repository:
        return self.hub.repository(name, self.user, self.can_write)


def who_am_i(request: Request) -> None:
    if request.user is None:
        raise HubError(401, "", "Invalid username or password.")
    role = "write" if request.can_write else "read"
    about = {"type": "user", "name": request.user, "orgs": []}
    request.handler.respond({**about, "auth": {"type": "access_token", "accessToken": {"role": role}}})


def create_repository(request: Request) -> None:
    wanted = request.json()
    owner = wanted.get("organization") or request.user
    if owner is None:
        raise HubError(401, "", "Invalid username or password.")
    name = f"{owner}/{wanted['name']}"
    if owner != request.user or not request.can_write:
        raise HubError(403, "", f"You don't have the rights to create a model under the namespace {owner!r}")
    about = {"url": f"{request.address}/{name}", "name": name, "id": name}
    if name in request.hub.repositories:
        request.handler.respond({**about, "error": "You already created this model repo"}, 409)
        return
    repository = Repository(name, wanted.get("visibility") == "private")
    repository.commit("main", "initial commit", {".gitattributes": StoredFile(b"*.safetensors filter=lfs\n")})
    request.hub.repositories[name] = repository
    request.handler.respond(about)


def validate_yaml(request: Request) -> None:
    """The Hub's check of a card. Of its rules this has one that no local check makes: codes of languages."""
    front = re.match(r"---\n(.*?)\n---", request.json()["content"], re.DOTALL)
    data = (yaml.safe_load(front[1]) if front else None) or {}
    languages = data.get("language", [])
    languages = languages if isinstance(languages, list) else [languages]
    errors = [
        {"message": f'"language[{i}]" must be an ISO 639-1, 639-2 or 639-3 code, got {language!r}'}
        for i, language in enumerate(languages)
        if not re.fullmatch("[a-z]{2,3}", str(language))
    ]
    request.handler.respond({"errors": errors, "warnings": []}, 400 if errors else 200)


def describe_repository(request: Request, name: str, revision: str = "main") -> None:
    repository = request.readable(name)
    commit = repository.resolve(revision)
    _, tree = repository.commits[commit]
    about = {"id": name, "modelId": name, "private": repository.private, "sha": commit, "tags": []}
    request.handler.respond({**about, "siblings": [{"rfilename": path} for path in tree]})


def list_tree(request: Request, name: str, revision: str, folder: str = "") -> None:
    repository = request.readable(name)
    commit = repository.resolve(revision)
    _, tree = repository.commits[commit]
    below = {path: each for path, each in tree.items() if path.startswith(f"{folder}/" if folder else "")}
    if folder and not below:
        raise HubError(404, "EntryNotFound", f"{folder} does not exist", commit)
    request.handler.respond([each.entry(path) for path, each in below.items()])


def list_refs(request: Request, name: str) -> None:
    repository = request.readable(name)
    branches = [
        {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": commits[-1]}
        for branch, commits in repository.branches.items()
    ]
    request.handler.respond({"branches": branches, "converts": [], "tags": []})


def list_commits(request: Request, name: str, revision: str) -> None:
    repository = request.readable(name)
    repository.resolve(revision)
    history = [
        {"id": commit, "title": repository.commits[commit][0], "message": "", "date": DATE, "authors": []}
        for commit in reversed(repository.branches.get(revision, [revision]))
    ]
    request.handler.respond(history)


def create_branch(request: Request, name: str, branch: str) -> None:
    repository = request.writable(name)
    if branch in repository.branches:
        raise HubError(409, "", "Reference already exists")
    if branch.startswith("refs/") or COMMIT.fullmatch(branch):
        raise HubError(400, "", f"Invalid reference for a branch: {branch}")
    start = request.json().get("startingPoint", "main")
    repository.branches[branch] = [repository.resolve(start)]
    request.handler.respond({})


def announce_upload(request: Request, name: str, revision: str) -> None:
    """Which files go by Git LFS, and which are there already."""
    repository = request.writable(name)
    _, tree = repository.commits[repository.resolve(revision)]
    files = [
        {
            "path": each["path"],
            "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
            "shouldIgnore": False,
            "oid": tree[each["path"]].etag if each["path"] in tree else None,
        }
        for each in request.json()["files"]
    ]
    request.handler.respond({"files": files})


def announce_large_files(request: Request, name: str) -> None:
    request.writable(name)
    objects = [
        {**each, "actions": {"upload": {"href": f"{request.address}/upload/{each['oid']}"}}}
        if each["oid"] not in request.hub.large
        else each
        for each in request.json()["objects"]
    ]
    request.handler.respond({"transfer": "basic", "objects": objects})


def upload_large_file(request: Request, oid: str) -> None:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HubError(400, "", "the content has another hash")
    request.hub.large[oid] = request.body
    request.handler.respond({})


def commit(request: Request, name: str, branch: str) -> None:
    repository = request.writable(name)
    if branch not in repository.branches:
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {branch}")
    tree = dict(repository.commits[repository.resolve(branch)][1])
    title = ""
    for line in request.body.splitlines():
        operation = json.loads(line)
        value = operation["value"]
        if operation["key"] == "header":
            title = value["summary"]
        elif operation["key"] == "file":
            tree[value["path"]] = StoredFile(base64.b64decode(value["content"]))
        elif operation["key"] == "lfsFile":
            tree[value["path"]] = StoredFile(request.hub.large[value["oid"]], is_large=True)
        elif operation["key"] == "deletedFile":
            del tree[value["path"]]
        else:
            raise HubError(501, "", f"this Hub has no operation {operation['key']}")
    made = repository.commit(branch, title, tree)
    request.handler.respond({"commitUrl": f"{request.address}/{name}/commit/{made}", "commitOid": made})


def send_file(request: Request, name: str, revision: str, path: str) -> None:
    repository = request.readable(name)
    at = repository.resolve(revision)
    _, tree = repository.commits[at]
    if path not in tree:
        raise HubError(404, "EntryNotFound", "Entry not found", at)
    wanted = tree[path]
    headers = {"ETag": f'"{wanted.etag}"', "X-Repo-Commit": at, "Content-Type": "application/octet-stream"}
    if wanted.is_large:
        headers |= {"X-Linked-ETag": f'"{wanted.etag}"', "X-Linked-Size": str(len(wanted.content))}
    request.handler.respond(wanted.content, headers=headers)


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", who_am_i),
    ("POST", "/api/repos/create", create_repository),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", f"/api/models/{NAME}", describe_repository),
    ("GET", f"/api/models/{NAME}/revision/([^/]+)", describe_repository),
    ("GET", f"/api/models/{NAME}/tree/([^/]+)", list_tree),
    ("GET", f"/api/models/{NAME}/tree/([^/]+)/(.+)", list_tree),
    ("GET", f"/api/models/{NAME}/refs", list_refs),
    ("GET", f"/api/models/{NAME}/commits/([^/]+)", list_commits),
    ("POST", f"/api/models/{NAME}/branch/([^/]+)", create_branch),
    ("POST", f"/api/models/{NAME}/preupload/([^/]+)", announce_upload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", announce_large_files),
    ("PUT", "/upload/([0-9a-f]{64})", upload_large_file),
    ("POST", f"/api/models/{NAME}/commit/([^/]+)", commit),
    ("GET HEAD", f"/{NAME}/resolve/([^/]+)/(.+)", send_file),
]


def main() -> None:
    """Serve on a free port of 127.0.0.1."""
    Handler.hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
