"""Test the Space that the page is published as, by running it where Sineformer is not installed."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi, SpaceCard

from sineformer.training.page.page_model import PageModel
from sineformer.training.page.space import SpaceError, write_space

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython, Hub

MODEL = "user/small-on-a-page"


@pytest.fixture
def published(hub_client: Hub, model_folder: Path) -> str:
    """Return the id of a model on the Hub."""
    api = HfApi(endpoint=hub_client.endpoint, token=hub_client.token)
    api.create_repo(MODEL, exist_ok=True)
    api.upload_folder(repo_id=MODEL, folder_path=model_folder)
    return MODEL


@pytest.fixture
def gradio_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Gradio a version, where it is not installed."""
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "6.31.0" if name == "gradio" else real(name))


@pytest.mark.usefixtures("gradio_version")
def test_a_space_has_a_card_an_app_its_requirements_and_the_package(published: str, tmp_path: Path) -> None:
    write_space(tmp_path / "space", published)
    card = SpaceCard.load(tmp_path / "space" / "README.md").data
    assert (card.sdk, card.sdk_version, card.app_file, card.models) == ("gradio", "6.31.0", "app.py", [published])
    assert len(card.short_description) <= 60  # the limit of the Hub
    names = {path.name for path in (tmp_path / "space").iterdir()}
    record = f"sineformer-{metadata.version('sineformer')}.dist-info"
    assert names == {"README.md", "app.py", "requirements.txt", "sineformer", record}
    assert not list((tmp_path / "space").rglob("__pycache__"))
    requirements = (tmp_path / "space" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line.partition(">")[0] for line in requirements} == {
        "torch",
        "transformers",
        "jinja2",
        "packaging",
        "pillow",
    }


@pytest.mark.usefixtures("gradio_version")
def test_what_cannot_become_a_space_is_refused_and_nothing_is_written(
    published: str, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for folder, model, problem in (
        ("new", str(model_folder), "is a folder of this machine; publish it with sineformer-push"),
        ("new", "no-owner", "has no owner"),
        ("new", "two words/model", "cannot be the name of a repository"),
        ("new", "user/missing", "user/missing is not a folder, and cannot be downloaded"),
        ("full", published, "is not empty; name a new folder"),
    ):
        with pytest.raises(SpaceError, match=problem):
            write_space(tmp_path / folder, model)
    assert sorted(path.name for path in tmp_path.rglob("*") if "cache" not in str(path)) == ["file", "full"]


def answer(address: str, process: subprocess.Popen[str], log: Path) -> str:
    """Return what the process answers at an address, as soon as it does."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(address) as found:
                return found.read().decode()
        except OSError:
            time.sleep(0.5)
    pytest.fail(log.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_space_runs_where_sineformer_is_not_installed(
    published: str, hub_client: Hub, link_environment: Callable[..., BarePython], tmp_path: Path
) -> None:
    pytest.importorskip("gradio", reason="needs the extra app, which `make test-slow` installs")
    write_space(tmp_path / "space", published)
    python = link_environment("space", "gradio", "jinja2", "packaging", "pillow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = python.environment | hub_client.environment | {"GRADIO_SERVER_PORT": str(port)}
    log = tmp_path / "log"
    command, space = [str(python.executable), "app.py"], tmp_path / "space"
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=space, env=environment, stdout=output, stderr=output, text=True) as process,
    ):
        config = answer(f"http://127.0.0.1:{port}/config", process, log)
        process.terminate()
    assert PageModel(published).describe() in config
    assert "Another model" not in config
