"""The web page in a real browser: clips, videos, questions, bad files, two users, what stays behind."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from motion_scenes import clip_of, drifting_frames, write_clip, write_long_video, write_set, write_video
from servers import ModelServer, serving

from megc.answers.settings import Decoding, Endpoint
from megc.explanation.settings import ModelSettings, WebDemoSettings
from megc.facs import FINE_TO_COARSE, ActionUnit
from megc.problems import DataError
from megc.vqa.questions import split_long

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
    # eight pictures, and three sheets of frames to drag through: the clip, magnified, and its flow
    assert page.locator("#result .answer").count() == 6 and page.locator("#result figure img").count() == 11
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
    page.click("#chat")  # the list loses the focus, which asks nothing
    assert TRAP in page.inner_text("#chat [data-testid=user] >> nth=0")  # the first turn stays
    page.click("#challenge input")  # the same question may be asked again
    page.get_by_role("option", name="What is the coarse expression class?").click()
    page.wait_for_function("document.querySelectorAll('#chat [data-testid=bot]').length == 3")
    with page.expect_download() as download:
        page.click("#report")
    report = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == "a_report.html" and "annotated: disgust" in report
    assert "Is he angry?" in report and report.count("free question</span>") == 1 and TRAP not in report
    asked = json.loads((kept / "a/answers.json").read_text())["clips"][0]["answers"][6:]
    assert [(answer["kind"], answer["free"]) for answer in asked] == [("open", True), *[("coarse", False)] * 2]
    assert len({answer["id"] for answer in asked}) == 3 and asked[1]["answer"] == asked[2]["answer"]
    assert (kept / "a/report.html").is_file()
    assert json.loads((kept / "a/answers.json").read_text())["video"] == "demo/s1/a"
    assert page.evaluate("window.pwned") is None
    assert {url for url in page.requested if not url.startswith((page.url, "data:", "blob:"))} == set()
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def still(page) -> str:
    """Where the sheet of frames is moved to, by which the frame that is seen is chosen."""
    return page.locator("#result .slider .still img").first.evaluate("sheet => sheet.style.transform")


def test_the_timeline_of_a_clip_is_dragged(page):
    choose(page, "demo/s1/a")  # frames 9 to 20, at 200 a second: each third is in the slider
    explain(page)
    output, cursor = page.locator("#result .slider output"), page.locator("#result .slider .cursor")
    frames = json.loads(page.locator("#result .slider").get_attribute("data-frames"))
    assert [frame[0].partition(",")[0] for frame in frames] == [f"frame {n}" for n in (9, 12, 15, 18, 20)]
    assert output.inner_text() == "frame 15, 0.03 s"  # the apex
    page.locator("#result .slider input").focus()
    page.keyboard.press("Home")
    assert output.inner_text() == "frame 9, 0.00 s" and still(page) == "translate(0%, 0%)"
    page.keyboard.press("ArrowRight")
    assert output.inner_text() == "frame 12, 0.01 s" and still(page).startswith("translate(-16.6667%")
    page.keyboard.press("End")
    page.locator("#result .slider .plot").scroll_into_view_if_needed()
    plot, last = page.locator("#result .slider .plot").bounding_box(), cursor.bounding_box()["x"]
    middle = plot["y"] + plot["height"] / 2
    page.mouse.move(last, middle)
    page.mouse.down()
    page.mouse.move(plot["x"] + (frames[1][1] + 0.5) / 100 * plot["width"], middle, steps=4)
    page.mouse.up()
    assert output.inner_text() == "frame 12, 0.01 s" and cursor.bounding_box()["x"] < last - 100
    page.mouse.move(last, middle)  # no button is pressed
    assert output.inner_text() == "frame 12, 0.01 s"
    page.set_viewport_size({"width": 400, "height": 800})  # the plot is wider than the page: it follows the cursor
    for key, frame in (("Home", "frame 9"), ("End", "frame 20")):
        page.locator("#result .slider input").focus()
        page.keyboard.press(key)
        assert output.inner_text().startswith(frame) and 0 <= cursor.bounding_box()["x"] <= 400


def test_answers_are_reasoned_over_at_a_click(page):
    choose(page, "demo/s1/b")
    explain(page)
    page.click("#options button")
    page.get_by_label("coarse and fine class chosen together").check()
    page.get_by_label("sentence composed of the other answers").check()
    page.wait_for_selector("#result [data-kind=long] b")
    final = {}
    for kind in ("coarse", "fine", "units", "long"):
        answer = page.locator(f"#result [data-kind={kind}]")
        by_reasoning = answer.locator("p > b")
        final[kind] = (by_reasoning if by_reasoning.count() else answer.locator(".text")).first.inner_text()
    assert FINE_TO_COARSE[final["fine"]] == final["coarse"]
    _, fine, coarse = split_long(final["long"])
    assert (fine, coarse) == (final["fine"], final["coarse"])
    page.get_by_label("coarse and fine class chosen together").uncheck()
    page.get_by_label("sentence composed of the other answers").uncheck()
    page.wait_for_selector("#result [data-kind=long] b", state="detached")


def test_a_dropped_video_with_a_malicious_name_is_shown_as_text(page, tmp_path, images):
    upload(page, f"{TRAP}.avi", video_bytes(tmp_path, images))
    page.wait_for_selector("#upload .file-preview")
    text = explain(page)
    assert page.locator("#result .answer").count() == 7 and "onset: frame 1" in text
    assert page.evaluate("window.pwned") is None and page.locator("#result img[src=x]").count() == 0
    choose(page, "demo/s1/b")  # takes the place of the video
    assert "demo/s1/b" in explain(page)


def test_what_is_no_video_and_what_is_too_large_is_refused_in_words(page, tmp_path):
    upload(page, "notes.mp4", b"no video at all")
    page.wait_for_selector("#upload .file-preview")
    text = explain(page)
    assert text.startswith("notes.mp4: the video cannot be opened") and tempfile.gettempdir() not in text
    page.reload()
    page.wait_for_selector("#explain")
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(300 * 2**20)  # takes no room on the disk
    page.set_input_files("#upload input[type=file]", tmp_path / "large.mp4")
    page.wait_for_selector("text=/exceeds|too large|maximum/i")
    assert "There is no video yet" in explain(page)


def test_a_large_file_is_refused_without_the_page_too(address):
    """By the server itself: programs that send files ask no page."""
    part = b'--X\r\nContent-Disposition: form-data; name="files"; filename="large.mp4"\r\n\r\n'
    body = part + bytes(3 * 2**20) + b"\r\n--X--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=X"}
    request = Request(f"{address}gradio_api/upload", body, headers)
    with pytest.raises(HTTPError) as refusal:
        urlopen(request, timeout=30)
    assert refusal.value.code == 413
    (root,) = Path(tempfile.gettempdir()).glob("megc-web-*")
    assert not list(root.rglob("large.mp4"))


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
    assert "The whole video" in text and page.locator("#result [data-kind=count_all] .text").inner_text() == str(
        len(names)
    )
    for number, asked in enumerate(
        ("What is the coarse expression class?", "How many expression events appear in this video?", "Is he angry?")
    ):
        page.fill("#question input, #question textarea", asked)
        page.keyboard.press("Enter")
        page.wait_for_function(f"document.querySelectorAll('#chat [data-testid=bot]').length == {number + 1}")
    users, bots = (page.locator(f"#chat [data-testid={name}]").all_inner_texts() for name in ("user", "bot"))
    assert names[1] in users[0] and "The whole video" in users[1] and names[1] in users[2]
    assert "free question" not in bots[0] and "free question" in bots[2]
    assert bots[1].startswith(str(len(names))) and "from the spotted intervals" in bots[1]
    events.nth(0).click()  # the turns stay when another event is looked at
    page.wait_for_function(
        f"document.querySelector('#result').innerText.includes('{names[0].partition(':')[0]}: frames')"
    )
    assert page.locator("#chat [data-testid=bot]").all_inner_texts() == bots
    page.click("#challenge input")
    page.get_by_role("option", name="What is the expression type of the 2-th expression event in this video?").click()
    page.wait_for_function("document.querySelectorAll('#chat [data-testid=bot]').length == 4")
    kind = names[1].rpartition(", ")[2]
    assert page.locator("#chat [data-testid=bot]").last.inner_text().startswith(f"{kind}-expression")
    time = page.locator("#result .slider input").first  # of the whole video: its cursor goes along the timeline
    time.focus()
    page.keyboard.press("Home")
    assert page.locator("#result .slider output").first.inner_text() == "0.0 s"
    cursor = page.locator("#result .slider .cursor").first
    start = cursor.bounding_box()["x"]
    page.keyboard.press("End")
    assert (
        cursor.bounding_box()["x"] - start > 500 and "4." in page.locator("#result .slider output").first.inner_text()
    )


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


def test_a_server_answers_the_page_and_its_absence_is_said(browser, tmp_path, images, checkpoint):
    from megc.explanation.web_page import served_page

    write_clip(tmp_path, "a", images)
    write_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    with serving(ModelServer(checkpoint, "I cannot say.").vllm) as (url, _):
        endpoint = Endpoint(url.replace("//", "//me:Zw1ebel@"), retries=0)
        answers = ModelSettings(model=str(checkpoint), device="cpu", threads=1, endpoint=endpoint)
        settings = WebDemoSettings(port=0, clips=tmp_path / "clips.jsonl", answers=answers)
        with served_page(settings) as address:
            context, page = open_page(browser, address)
            choose(page, "demo/s1/a")
            assert "What is the coarse expression class?" in explain(page)
            page.fill("#question input, #question textarea", "Is he angry?")
            page.keyboard.press("Enter")
            page.wait_for_selector("#chat [data-testid=bot]")
            assert page.inner_text("#chat [data-testid=bot]").startswith("I cannot say.")
            with page.expect_download() as download:
                page.click("#report")
            report = Path(download.value.path()).read_text()
            assert f"at {url}" in report and "Zw1ebel" not in report + page.content()
            context.close()
    with served_page(settings) as address:  # the server has gone
        context, page = open_page(browser, address)
        choose(page, "demo/s1/a")
        text = explain(page)
        assert "the server cannot be used (Connection error.)" in text and "Zw1ebel" not in text
        context.close()


def test_a_port_that_is_taken_is_named(address, checkpoint):
    from megc.explanation.web_page import served_page

    settings = WebDemoSettings(port=int(address.rsplit(":")[-1].strip("/")), answers=ModelSettings(str(checkpoint)))
    with pytest.raises(DataError, match="cannot be listened on"), served_page(settings):
        raise AssertionError("it is served twice")
