"""The page in a browser: its filters work, and nothing is wider than a telephone."""

import re
import shutil
import subprocess

import pytest
from score_files import make_demo

from megc.problems import Problems
from megc.scoring.report import score_runs
from megc.scoring.runs import find_predictions, read_references, read_runs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = make_demo(tmp_path_factory.mktemp("report"))
    references = read_references(root / "test.jsonl", Problems())
    runs = read_runs(find_predictions(root / "out"), None, references, Problems())
    score_runs(root / "out", references, runs, ["megc2025", "tie"], resamples=20)
    return root / "out" / "report.html"


def seen(path, folder, fragment="", width=1280):
    """The document after its script has run, without network."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", f"--window-size={width},900"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000", "--dump-dom"]
    address = f"{path.as_uri()}{fragment}"
    done = subprocess.run([BROWSER, *flags, address], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def cards(document):
    """Whether each card is shown, by clip."""
    found = re.findall(r'<article class="card"[^>]*?( hidden="")?>\s*<h3>(\S+)', document)
    return {clip: not hidden for hidden, clip in found}


@pytest.mark.parametrize(
    ("fragment", "clips", "questions"),
    [
        ("", 5, 20),
        ("#dataset=samm", 2, 8),
        ("#subject=casme2/sub01", 2, 8),
        ("#class=negative", 3, 12),
        ("#class=happiness", 1, 4),
        ("#kind=units", 5, 5),
        ("#run=model&mark=wrong", 1, 1),
        ("#run=prior&mark=right", 3, 3),
        ("#class=anger&dataset=casme2", 0, 0),
        ("#dataset=elsewhere", 5, 20),
    ],
)
def test_filters_of_the_address(page, tmp_path, fragment, clips, questions):
    document = seen(page, tmp_path, fragment)
    shown = cards(document)
    assert len(shown) == 5 and sum(shown.values()) == clips
    assert f'id="count">{clips} of 5 clips<' in document
    visible = 0
    for card in re.split(r'(?=<article class="card")', document)[1:]:
        if not re.match(r'<article class="card"[^>]*hidden=""', card):
            visible += len(re.findall(r'<div class="question"(?![^>]*hidden)[^>]*>', card))
    assert visible == questions


def test_choosing_in_the_list_filters_too(page, tmp_path):
    text = page.read_text().replace(
        "</body>",
        "<script>const f = document.querySelector('[data-filter=mark]'); f.value = 'wrong';"
        "f.dispatchEvent(new Event('change')); document.title = location.hash;</script></body>",
    )
    other = tmp_path / "chosen.html"
    other.write_text(text)
    document = seen(other, tmp_path / "profile")
    assert "<title>#mark=wrong</title>" in document and 'id="count">5 of 5 clips<' in document
    # both runs are right about the coarse class of the three negative clips
    assert document.count('<div class="question" data-kind="coarse" hidden') == 3


def test_page_is_no_wider_than_a_telephone(page, tmp_path):
    tell = "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>"
    (tmp_path / "page.html").write_text(page.read_text().replace("</body>", tell))
    frame = tmp_path / "frame.html"  # a window of the browser itself cannot be that narrow
    frame.write_text(
        '<iframe src="page.html" style="width:400px;height:900px;border:0"></iframe><p id="w"></p><script>'
        "addEventListener('message', e => document.getElementById('w').textContent = 'width ' + e.data)</script>"
    )
    width = re.search(r"width (\d+)", seen(frame, tmp_path / "profile"))
    assert width and int(width[1]) <= 400
