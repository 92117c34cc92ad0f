"""Test the page in a browser, as visitors use it: the command serves it, Chromium shows it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sineformer.training.page.page_model import MOST_TOKENS, PageModel
from sineformer.training.pretrained.translation import translate_lines

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which `make test-slow` installs")
pytest.importorskip("gradio", reason="needs the extra app, which `make test-slow` installs")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
PATIENCE = 120_000  # milliseconds; nothing is measured
SENTENCE = "the dog sleeps"
OTHER = "der Hund schläft"
CELLS = ".sf-heat tbody td"


@pytest.fixture(scope="module")
def address(model_folder: Path) -> Iterator[str]:
    """Serve the page by its command; at the end it has to end quietly by a signal."""
    command = [sys.executable, "-m", "sineformer.scripts.app", "--model", str(model_folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, process.stderr.read()
        yield found[0]
        process.terminate()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == -signal.SIGTERM


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium."""
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page as a new visitor; at the end, all requests must have been to the page."""
    contexts, requests, errors = [], [], []

    def open_page(**screen: Any) -> Any:
        contexts.append(browser.new_context(**screen))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        sentence_of(page).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [each for each in requests if not each.startswith((address, "data:", "blob:"))] == []
    assert errors == []


def sentence_of(page: Any) -> Any:
    return page.get_by_label("Sentence", exact=True)


def translate(page: Any, sentence: str) -> str:
    """Translate the first sentence of a visitor; return what the page shows as its translation."""
    sentence_of(page).fill(sentence)
    sentence_of(page).press("Enter")
    page.locator(CELLS).first.wait_for()
    return page.locator("#sf-translation textarea").input_value()


def test_a_sentence_is_translated_and_looked_into(visit: Callable[..., Any], page_model: PageModel) -> None:
    page = visit()
    hypotheses = page_model.search(SENTENCE, page_model.num_beams)
    assert translate(page, SENTENCE) == hypotheses[0].text
    attention = page_model.inspect(SENTENCE, hypotheses[0]).cross_attention(0, 1).by_words()
    assert page.locator(CELLS).count() == attention.weights.numel()
    for name, choice in (("Layer", "1"), ("Head", "2")):
        page.get_by_label(name, exact=True).click()
        page.get_by_role("option", name=choice, exact=True).click()
    playwright.expect(page.locator(".sf-heat figcaption")).to_contain_text("layer 1 and head 2", timeout=PATIENCE)
    shown = [float(each) for each in page.locator(CELLS).all_text_contents()]
    assert shown == pytest.approx(attention.weights.flatten().tolist(), abs=6e-4)
    page.locator(CELLS).nth(1).hover()
    expected = f"{attention.queries[0]} attends to {attention.keys[1]}: "
    assert page.locator(".sf-reading").inner_text().startswith(expected)


def test_another_beam_is_looked_into(visit: Callable[..., Any], page_model: PageModel) -> None:
    page = visit()
    page.locator("#sf-beams input[type=number]").fill("3")
    page.locator("#sf-beams input[type=number]").press("Tab")
    translate(page, SENTENCE)
    hypotheses = page_model.search(SENTENCE, 3)
    page.locator("#sf-hypotheses input").nth(2).check()
    playwright.expect(page.locator("#sf-translation textarea")).to_have_value(hypotheses[2].text, timeout=PATIENCE)
    page.get_by_role("tab", name="Tokens").click()
    page.locator(".sf-candidates").wait_for()
    assert page.locator(".sf-candidates tbody tr").count() == len(hypotheses[2].ids)
    page.get_by_role("tab", name="Positions").click()
    assert page.locator(".sf-positions img").count() == len(page_model.inspect(SENTENCE, hypotheses[2]).source)


def test_the_keyboard_is_enough(visit: Callable[..., Any]) -> None:
    page = visit()
    focused = "document.activeElement"

    def tab_to(selector: str) -> None:
        for _ in range(60):
            if page.evaluate(f"!!{focused}.closest({selector!r})"):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"{selector} cannot be reached by Tab")

    tab_to("#sf-sentence")
    page.keyboard.type(SENTENCE)
    page.keyboard.press("Enter")
    page.locator(CELLS).first.wait_for()
    tab_to(CELLS)
    first = page.locator(".sf-reading").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(f"{focused}.cellIndex") == 2
    assert page.locator(".sf-reading").inner_text() != first
    page.keyboard.press("ArrowUp")  # there is no row above
    assert page.evaluate(f"{focused}.cellIndex") == 2


def test_a_file_is_translated(visit: Callable[..., Any], page_model: PageModel, tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("tab", name="File").click()
    said = page.locator("#sf-file-message")
    page.locator("#sf-translate-file").click()
    playwright.expect(said).to_contain_text("Choose a file first", timeout=PATIENCE)
    lines = [SENTENCE, "", OTHER]
    (tmp_path / "bad.txt").write_bytes(b"the dog\n\xff\xff\n")
    (tmp_path / "good.txt").write_text("\n".join(lines), encoding="utf-8")
    upload = page.locator("#sf-source-file input[type=file]")
    upload.set_input_files(tmp_path / "bad.txt")
    page.locator("#sf-source-file").get_by_text("bad").wait_for()
    page.locator("#sf-translate-file").click()
    playwright.expect(said).to_contain_text("bad.txt:2 is not UTF-8", timeout=PATIENCE)
    page.locator("#sf-source-file").get_by_label("Clear").click()
    upload.set_input_files(tmp_path / "good.txt")
    page.locator("#sf-source-file").get_by_text("good").wait_for()
    page.locator("#sf-translate-file").click()
    playwright.expect(said).to_contain_text("good.txt is translated", timeout=PATIENCE)
    with page.expect_download() as download:
        page.locator("#sf-result-file a").first.click()
    assert download.value.suggested_filename == "translated-good.txt"
    found = Path(download.value.path()).read_text(encoding="utf-8").split("\n")[:-1]
    assert found == translate_lines(page_model.model, page_model.tokenizers, lines)


def test_problems_are_messages_and_the_page_lives_on(
    visit: Callable[..., Any], page_model: PageModel, tmp_path: Path
) -> None:
    page = visit()
    said = page.locator("#sf-message")
    page.locator("#sf-translate").click()
    playwright.expect(said).to_contain_text("there is no text", timeout=PATIENCE)
    sentence_of(page).fill("dog " * (MOST_TOKENS + 1))
    page.locator("#sf-translate").click()
    playwright.expect(said).to_contain_text(f"at most {MOST_TOKENS}", timeout=PATIENCE)
    page.get_by_text("Another model").click()
    page.locator("#sf-model-name textarea, #sf-model-name input").fill(str(tmp_path))
    page.locator("#sf-load").click()
    playwright.expect(page.locator("#sf-model")).to_contain_text("holds no config.json", timeout=PATIENCE)
    assert translate(page, SENTENCE) == page_model.search(SENTENCE, page_model.num_beams)[0].text


def test_visitors_have_their_own_model_and_translation(
    visit: Callable[..., Any], page_model: PageModel, make_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    other = PageModel(str(make_model_folder(tmp_path / "other", 5)))
    first, second = visit(), visit()
    second.get_by_text("Another model").click()
    second.locator("#sf-model-name textarea, #sf-model-name input").fill(other.name)
    second.locator("#sf-load").click()
    playwright.expect(second.locator("#sf-model")).to_contain_text("other, ", timeout=PATIENCE)
    assert translate(first, SENTENCE) == page_model.search(SENTENCE, page_model.num_beams)[0].text
    assert translate(second, OTHER) == other.search(OTHER, other.num_beams)[0].text
    first.get_by_label("Join tokens into words").uncheck()
    keys = page_model.inspect(SENTENCE, page_model.search(SENTENCE, 1)[0]).source
    playwright.expect(first.locator(".sf-heat thead th")).to_have_count(len(keys), timeout=PATIENCE)
    playwright.expect(first.locator("#sf-model")).to_contain_text("small, ")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_screen(visit: Callable[..., Any], width: int) -> None:
    page = visit(viewport={"width": width, "height": 844})
    translate(page, " ".join([SENTENCE] * 8))
    for tab in ("Attention", "Tokens", "Positions", "File"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
