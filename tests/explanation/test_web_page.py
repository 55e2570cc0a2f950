"""The web page in a real browser: clips, videos, questions, bad files, two users, what stays behind."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from motion_scenes import clip_of, drifting_frames, write_clip, write_long_video, write_set, write_video

from megc.answers.settings import Decoding
from megc.explanation.settings import ModelSettings, WebDemoSettings
from megc.facs import ActionUnit
from megc.problems import DataError

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
PATIENCE = 60_000  # milliseconds: machines may be busy
TRAP = "<img src=x onerror=window.pwned=1>${window.pwned=1}"


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return drifting_frames()


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def address(tmp_path_factory, images, checkpoint, kept) -> Iterator[str]:
    """The page with two clips, a limit of 1 MB, and uploads in a folder of the test's."""
    from megc.explanation.web_page import served_page  # here: gradio takes seconds

    root = tmp_path_factory.mktemp("page")
    labels = {"action_units": (ActionUnit(4),), "fine": "disgust", "coarse": "negative"}
    for name in "ab":
        write_clip(root, name, images)
    write_set(root, [clip_of(root, name, 9, 15, 20, **labels) for name in "ab"])
    answers = ModelSettings(model=str(checkpoint), device="cpu", threads=1, decoding=Decoding(max_new_tokens=4))
    settings = WebDemoSettings(port=0, upload=1, keep=kept, clips=root / "clips.jsonl", answers=answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        with served_page(settings) as address:
            yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address) -> Iterator[object]:
    context, page = open_page(browser, address)
    yield page
    context.close()


def open_page(browser, address: str) -> tuple:
    """A new user with the page, whose requests to elsewhere are counted."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.requested = []
    page.on(
        "request",
        lambda request: request.url.startswith((address, "data:", "blob:")) or page.requested.append(request.url),
    )
    page.goto(address)
    page.wait_for_selector("#explain")
    return context, page


def choose(page, clip: str) -> None:
    page.click("#clip input")
    page.get_by_role("option", name=clip).click()


def explain(page) -> str:
    """Press the button; the text of the answered page, or of what went wrong."""
    page.evaluate("document.querySelectorAll('#result .ask').forEach(part => part.classList.add('old'))")
    page.click("#explain")
    page.wait_for_selector(", ".join(f"#result .ask:not(.old) {part}" for part in (".answer", ".error")))
    return page.inner_text("#result")


def upload(page, name: str, data: bytes) -> None:
    page.set_input_files("#upload input[type=file]", {"name": name, "mimeType": "video/avi", "buffer": data})


def video_bytes(tmp_path: Path, images: list[np.ndarray]) -> bytes:
    write_video(tmp_path / "face.avi", images, "MJPG")
    return (tmp_path / "face.avi").read_bytes()


def test_a_clip_is_explained_asked_about_and_exported(page, kept):
    assert "Drop a video" in page.inner_text("#result")
    assert "There is no video yet" in explain(page)
    choose(page, "demo/s1/a")
    text = explain(page)
    assert "demo/s1/a" in text and "annotated: disgust" in text and "What the answers rest on" in text
    assert page.locator("#result .answer").count() == 6 and page.locator("#result figure img").count() == 8
    widths = page.eval_on_selector_all("#result img", "all => all.map(image => image.naturalWidth)")
    assert all(width > 100 for width in widths)  # every picture is one
    page.fill("#question input, #question textarea", f"Is he angry? {TRAP}")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat [data-testid=bot]")
    assert TRAP in page.inner_text("#chat [data-testid=user]") and "free question" in page.inner_text(
        "#chat [data-testid=bot]"
    )
    page.click("#challenge input")
    page.get_by_role("option", name="What is the coarse expression class?").click()
    page.wait_for_function("document.querySelectorAll('#chat [data-testid=bot]').length == 2")
    assert "without" not in page.locator("#chat [data-testid=bot]").last.inner_text()
    assert any(
        name in page.locator("#chat [data-testid=bot]").last.inner_text()
        for name in ("negative", "positive", "surprise")
    )
    with page.expect_download() as download:
        page.click("#report")
    report = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == "a_report.html" and "annotated: disgust" in report
    assert (kept / "a/report.html").is_file()
    assert json.loads((kept / "a/answers.json").read_text())["video"] == "demo/s1/a"
    assert page.evaluate("window.pwned") is None
    assert {url for url in page.requested if not url.startswith((page.url, "data:", "blob:"))} == set()
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_dropped_video_with_a_malicious_name_is_shown_as_text(page, tmp_path, images):
    upload(page, f"{TRAP}.avi", video_bytes(tmp_path, images))
    page.wait_for_selector("#upload .file-preview")
    text = explain(page)
    assert page.locator("#result .answer").count() == 7 and "onset: frame 1" in text
    assert page.evaluate("window.pwned") is None and page.locator("#result img[src=x]").count() == 0
    choose(page, "demo/s1/b")  # takes the place of the video
    assert "demo/s1/b" in explain(page)


def test_what_is_no_video_and_what_is_too_large_is_refused_in_words(page):
    upload(page, "notes.mp4", b"no video at all")
    page.wait_for_selector("#upload .file-preview")
    text = explain(page)
    assert text.startswith("notes.mp4: the video cannot be opened") and tempfile.gettempdir() not in text
    page.reload()
    page.wait_for_selector("#explain")
    upload(page, "large.mp4", bytes(1_500_000))
    page.wait_for_selector("text=/exceeds|too large|maximum/i")
    assert "There is no video yet" in explain(page)


@pytest.mark.slow
def test_the_events_of_a_long_video_are_chosen_from(page, tmp_path):
    write_long_video(tmp_path / "long.mp4", [60, 170], "mp4v")
    upload(page, "long.mp4", (tmp_path / "long.mp4").read_bytes())
    page.wait_for_selector("#upload .file-preview")
    text = explain(page)
    assert "long.mp4" in text and "score" in text
    events = page.locator("#event label")
    names = events.all_inner_texts()
    assert len(names) >= 2 and page.locator("#result img[alt^=timeline]").count() == 1
    events.nth(1).click()
    page.wait_for_function(
        f"document.querySelector('#result').innerText.includes('{names[1].partition(':')[0]}: frames')"
    )
    page.fill("#question input, #question textarea", "What is the coarse expression class?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat [data-testid=bot]")
    assert "free question" not in page.inner_text("#chat [data-testid=bot]")


def test_two_users_get_their_own_answers(browser, address):
    users = [open_page(browser, address) for _ in range(2)]
    for (_, page), clip in zip(users, ("demo/s1/a", "demo/s1/b"), strict=True):
        choose(page, clip)
        page.click("#explain")  # both wait at the same time
    for (context, page), clip in zip(users, ("demo/s1/a", "demo/s1/b"), strict=True):
        page.wait_for_selector("#result .answer")
        assert clip in page.inner_text("#result h2 >> nth=0")
        context.close()


def test_nothing_stays_of_a_closed_tab(browser, address, tmp_path, images):
    (root,) = Path(tempfile.gettempdir()).glob("megc-web-*")
    context, page = open_page(browser, address)
    before = set((root / "sessions").glob("*"))
    upload(page, "mine.avi", video_bytes(tmp_path, images))
    page.wait_for_selector("#upload .file-preview")
    explain(page)
    assert list((root / "uploads").rglob("mine.avi"))
    assert set((root / "sessions").glob("*")) - before
    page.close(run_before_unload=True)
    patience = time.monotonic() + PATIENCE / 1000

    def left() -> set[Path]:  # sessions of earlier tests may end meanwhile
        return {*root.rglob("mine.avi"), *(root / "sessions").glob("*")} - before

    while time.monotonic() < patience and left():
        time.sleep(0.1)
    assert left() == set()
    context.close()


def test_a_port_that_is_taken_is_named(address, checkpoint):
    from megc.explanation.web_page import served_page

    settings = WebDemoSettings(port=int(address.rsplit(":")[-1].strip("/")), answers=ModelSettings(str(checkpoint)))
    with pytest.raises(DataError, match="cannot be listened on"), served_page(settings):
        raise AssertionError("it is served twice")
