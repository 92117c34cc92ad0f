"""Test that access is checked before anything is uploaded, and every refusal is one sentence with the fix."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi, constants

from sineformer.training.pretrained.publishing import Destination, PublishingError, Upload, plan_upload, send

if TYPE_CHECKING:
    from sineformer.tests.conftest import Hub


@pytest.fixture
def folder(tmp_path: Path, make_model_folder: Callable[..., Path]) -> Path:
    """Return a folder with one problem, so that it is not loaded; the Hub is checked nevertheless."""
    made = make_model_folder(tmp_path / "model")
    (made / "generation_config.json").unlink()
    return made


def problems(folder: Path, destination: Destination) -> list[str]:
    fault, *rest = plan_upload(folder, destination).problems
    assert fault.startswith("generation_config.json: missing")
    return rest


def send_files(folder: Path, destination: Destination, **files: str) -> Upload:
    """Upload files without checking the folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    upload = Upload({PurePosixPath(f"{name}.py"): len(text) for name, text in files.items()})
    send(folder, upload, destination, "A commit")
    return upload


def test_a_good_destination_has_no_problems_and_checking_changes_nothing(hub_client: Hub, folder: Path) -> None:
    assert problems(folder, Destination("user/not-yet")) == []
    assert not HfApi().repo_exists("user/not-yet")


@pytest.mark.parametrize(
    ("repo_id", "expected"),
    [
        ("model", "'model' has no owner; write owner/model"),
        ("user/a model", "'user/a model' cannot be the name of a repository"),
        ("a/b/c", "'a/b/c' cannot be the name of a repository"),
        ("stranger/model", "the token belongs to user, who cannot write to stranger; use one of: user"),
    ],
)
def test_a_name_that_cannot_be_written_to(hub_client: Hub, folder: Path, repo_id: str, expected: str) -> None:
    (problem,) = problems(folder, Destination(repo_id))
    assert problem.startswith(expected)


def test_a_missing_token(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (problem,) = problems(folder, Destination("user/model"))
    assert problem == "there is no token; log in with `hf auth login`, or set HF_TOKEN"


def test_a_dry_run_needs_no_token(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    upload = plan_upload(folder, Destination("user/model"), dry_run=True)
    (fault,) = upload.problems
    assert fault.startswith("generation_config.json: missing")
    assert upload.unchecked == "there is no token; log in with `hf auth login`, or set HF_TOKEN"


def test_an_invalid_token(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    (problem,) = problems(folder, Destination("user/model"))
    assert problem.startswith("the Hub answered 401")
    assert "hf auth login" in problem


def test_a_read_only_token(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    (problem,) = problems(folder, Destination("user/model"))
    assert problem.startswith("the token is read-only; create one with write access")


def test_a_refusal_during_the_upload(hub_client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(PublishingError, match=r"the Hub answered 403 \(.*\): the token has no permission"):
        send_files(tmp_path / "files", Destination("user/forbidden"), a="1")


def test_no_network(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    (problem,) = problems(folder, Destination("user/model"))
    assert problem.startswith(f"{endpoint} cannot be reached: ")
    assert problem.endswith("check the network")


def test_offline_mode(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    (problem,) = problems(folder, Destination("user/model"))
    close_session()
    assert problem == "HF_HUB_OFFLINE is set, so the Hub cannot be reached; unset it"


def test_the_card_is_checked_by_the_hub(hub_client: Hub, folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text().replace("language: [en, de]", "language: [English]"))
    (problem,) = problems(folder, Destination("user/model"))
    assert problem.startswith("README.md: the Hub rejects the metadata: ")
    assert "ISO 639" in problem


def test_a_repository_is_private_by_default_and_its_visibility_does_not_change(hub_client: Hub, folder: Path) -> None:
    for name, private in (("hidden", True), ("shown", False)):
        destination = Destination(f"user/{name}", private=private)
        send_files(folder.parent / "files", destination, a="1")
        assert HfApi().model_info(f"user/{name}").private == private
        assert problems(folder, destination) == []
        (problem,) = problems(folder, Destination(f"user/{name}", private=not private))
        assert problem.startswith(
            f"user/{name} exists and is {'private; leave out' if private else 'public; add'} --public"
        )


def test_all_files_are_uploaded_in_one_commit_with_its_message(hub_client: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    files = {PurePosixPath("config.json"): 2, PurePosixPath("model.safetensors"): 7}
    address = send(tmp_path, Upload(files), Destination("user/complete"), "All of it")
    commits = HfApi().list_repo_commits("user/complete")
    assert [commit.title for commit in commits] == ["All of it", "initial commit"]
    assert address.endswith(commits[0].commit_id)
    assert {*HfApi().list_repo_files("user/complete")} == {".gitattributes", "config.json", "model.safetensors"}


def test_code_and_weights_of_an_earlier_model_are_removed_and_other_files_kept(hub_client: Hub, folder: Path) -> None:
    destination = Destination("user/renewed")
    send_files(folder.parent / "files", destination, attention="old", removed_since="old")
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="picture.png", repo_id="user/renewed")
    upload = plan_upload(folder, destination)
    assert upload.removed == ["removed_since.py"]
    upload.problems.clear()
    send(folder, upload, destination, "A new model")
    there = {*HfApi().list_repo_files("user/renewed")}
    assert there == {".gitattributes", "picture.png", *map(str, upload.files)}


def test_a_branch_is_created_and_main_is_unchanged(hub_client: Hub, folder: Path) -> None:
    send_files(folder.parent / "files", Destination("user/branched"), first="1")
    on_branch = Destination("user/branched", revision="better")
    assert plan_upload(folder, on_branch).removed == ["first.py"]
    for text in ("2", "3"):
        send_files(folder.parent / "files", on_branch, second=text)
    api = HfApi()
    assert {*api.list_repo_files("user/branched")} == {".gitattributes", "first.py"}
    assert {*api.list_repo_files("user/branched", revision="better")} == {".gitattributes", "first.py", "second.py"}


def test_a_pull_request_that_does_not_exist_and_a_commit(hub_client: Hub, folder: Path) -> None:
    send_files(folder.parent / "files", Destination("user/revisions"), first="1")
    (problem,) = problems(folder, Destination("user/revisions", revision="refs/pr/7"))
    assert problem == "revision refs/pr/7 does not exist; give a branch"
    (problem,) = problems(folder, Destination("user/revisions", revision="0" * 40))
    assert problem.startswith(f"revision {'0' * 40} is a commit, which cannot change")


def test_nothing_is_uploaded_if_there_are_problems(hub_client: Hub, folder: Path) -> None:
    destination = Destination("user/refused")
    upload = plan_upload(folder, destination)
    with pytest.raises(PublishingError, match="generation_config"):
        send(folder, upload, destination, "Incomplete")
    assert not HfApi().repo_exists("user/refused")


def test_a_missing_folder(tmp_path: Path) -> None:
    upload = plan_upload(tmp_path / "nowhere", Destination("user/model"))
    assert upload.problems == [f"{tmp_path / 'nowhere'} is not a folder"]
