"""What the Hub would say is asked before anything is sent, and every refusal is one sentence with the mend."""

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
    """A folder with a card and one fault, so that it is not loaded: the Hub is asked all the same."""
    made = make_model_folder(tmp_path / "model")
    (made / "generation_config.json").unlink()
    return made


def problems(folder: Path, destination: Destination) -> list[str]:
    fault, *rest = plan_upload(folder, destination).problems
    assert fault.startswith("generation_config.json: missing")
    return rest


def send_files(folder: Path, destination: Destination, **files: str) -> Upload:
    """Send some files without a look at the folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    upload = Upload({PurePosixPath(f"{name}.py"): len(text) for name, text in files.items()})
    send(folder, upload, destination, "A commit")
    return upload


def test_a_good_destination_has_no_problems_and_asking_changes_nothing(hub_client: Hub, folder: Path) -> None:
    assert problems(folder, Destination("user/not-yet")) == []
    assert not HfApi().repo_exists("user/not-yet")


@pytest.mark.parametrize(
    ("repo_id", "problem"),
    [
        ("model", "'model' names no owner; write owner/model"),
        ("user/a model", "'user/a model' cannot be the name of a repository"),
        ("a/b/c", "'a/b/c' cannot be the name of a repository"),
        ("stranger/model", "the token belongs to user, who may not write to stranger; give one of: user"),
    ],
)
def test_a_name_that_cannot_be_written_to(hub_client: Hub, folder: Path, repo_id: str, problem: str) -> None:
    (told,) = problems(folder, Destination(repo_id))
    assert told.startswith(problem)


def test_a_missing_token(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (told,) = problems(folder, Destination("user/model"))
    assert told == "there is no token; log in with `hf auth login`, or set HF_TOKEN"


def test_a_token_that_is_not_valid(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    (told,) = problems(folder, Destination("user/model"))
    assert told.startswith("the Hub answered 401")
    assert "hf auth login" in told


def test_a_token_that_may_only_read(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    (told,) = problems(folder, Destination("user/model"))
    assert told.startswith("the token may only read; make one that may write")


def test_a_refusal_while_sending(hub_client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(PublishingError, match=r"the Hub answered 403 \(.*\): the token has no permission"):
        send_files(tmp_path / "files", Destination("user/forbidden"), a="1")


def test_no_network(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    (told,) = problems(folder, Destination("user/model"))
    assert told.startswith(f"{endpoint} cannot be reached: ")
    assert told.endswith("is there a network?")


def test_offline_by_the_users_own_wish(hub_client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    (told,) = problems(folder, Destination("user/model"))
    close_session()
    assert told == "the Hub may not be asked while HF_HUB_OFFLINE is set; unset it"


def test_the_hubs_own_check_of_the_card_counts(hub_client: Hub, folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text().replace("language: [en, de]", "language: [English]"))
    (told,) = problems(folder, Destination("user/model"))
    assert told.startswith("README.md: the Hub does not take the metadata: ")
    assert "ISO 639" in told


def test_a_repository_is_private_unless_asked_and_stays_what_it_is(hub_client: Hub, folder: Path) -> None:
    for name, private in (("hidden", True), ("shown", False)):
        destination = Destination(f"user/{name}", private=private)
        send_files(folder.parent / "files", destination, a="1")
        assert HfApi().model_info(f"user/{name}").private == private
        assert problems(folder, destination) == []
        (told,) = problems(folder, Destination(f"user/{name}", private=not private))
        assert told.startswith(
            f"user/{name} exists and is {'private; leave out' if private else 'public; add'} --public"
        )


def test_all_files_come_in_one_commit_with_its_message(hub_client: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    files = {PurePosixPath("config.json"): 2, PurePosixPath("model.safetensors"): 7}
    address = send(tmp_path, Upload(files), Destination("user/whole"), "All of it")
    commits = HfApi().list_repo_commits("user/whole")
    assert [commit.title for commit in commits] == ["All of it", "initial commit"]
    assert address.endswith(commits[0].commit_id)
    assert {*HfApi().list_repo_files("user/whole")} == {".gitattributes", "config.json", "model.safetensors"}


def test_code_and_weights_of_an_earlier_model_go_and_other_files_stay(hub_client: Hub, folder: Path) -> None:
    destination = Destination("user/renewed")
    send_files(folder.parent / "files", destination, attention="old", removed_since="old")
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="picture.png", repo_id="user/renewed")
    upload = plan_upload(folder, destination)
    assert upload.removed == ["removed_since.py"]
    upload.problems.clear()
    send(folder, upload, destination, "A new model")
    there = {*HfApi().list_repo_files("user/renewed")}
    assert there == {".gitattributes", "picture.png", *map(str, upload.files)}


def test_a_branch_is_made_and_main_stays(hub_client: Hub, folder: Path) -> None:
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
    (told,) = problems(folder, Destination("user/revisions", revision="refs/pr/7"))
    assert told == "revision refs/pr/7 does not exist; give the name of a branch"
    (told,) = problems(folder, Destination("user/revisions", revision="0" * 40))
    assert told.startswith(f"revision {'0' * 40} is a commit, which cannot change")


def test_nothing_is_sent_while_there_are_problems(hub_client: Hub, folder: Path) -> None:
    destination = Destination("user/refused")
    upload = plan_upload(folder, destination)
    with pytest.raises(PublishingError, match="generation_config"):
        send(folder, upload, destination, "Not whole")
    assert not HfApi().repo_exists("user/refused")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    upload = plan_upload(tmp_path / "nowhere", Destination("user/model"))
    assert upload.problems == [f"{tmp_path / 'nowhere'} is no folder"]
