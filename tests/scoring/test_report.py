"""The page: it stands alone, shows every answer, and shows nothing as markup that is text."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from score_files import make_demo, make_rows

from megc.files import write_jsonl
from megc.problems import Problems
from megc.scoring.answer_cards import make_cards, make_legend
from megc.scoring.plots import count_confusions, draw_confusion, draw_intervals, interval_figure
from megc.scoring.report import score_files, score_runs
from megc.scoring.runs import Run, find_predictions, read_references, read_runs
from megc.scoring.settings import ScoreSettings


@pytest.fixture
def demo(tmp_path):
    return make_demo(tmp_path)


def test_confusion_counts(tmp_path):
    rows = make_rows()
    write_jsonl(tmp_path / "rows.jsonl", rows)
    references = read_references(tmp_path / "rows.jsonl", Problems())
    answers = [r.answer for r in references]
    coarse = [row for row, reference in enumerate(references) if reference.kind == "coarse"]
    answers[coarse[0]], answers[coarse[1]], answers[coarse[3]] = "Negative.", None, "grim"
    counts, true, said = count_confusions(references, Run("m", tuple(answers), ({},) * len(rows), {}), "coarse")
    assert true == ["negative", "positive", "surprise"] and said == [*true, "none of these"]
    # negative: one missing, one outside, one right; positive: said negative; surprise: right
    assert counts.tolist() == [[1, 0, 0, 2], [1, 0, 0, 0], [0, 0, 1, 0]]
    counts, true, said = count_confusions(
        references, Run("m", ("disgust",) * len(rows), ({},) * len(rows), {}), "fine"
    )
    assert counts.sum() == 5 and counts[:, said.index("disgust")].tolist() == [1] * 5
    picture = draw_confusion(counts, true, said, "m: fine class")
    assert picture.startswith(b"\x89PNG") and picture == draw_confusion(counts, true, said, "m: fine class")


def test_runs_side_by_side_have_a_line_each_from_end_to_end():
    low = {"run": "low", "avg": 0.2, "avg_low": 0.1, "avg_high": 0.3, "avg_subject_low": 0.05, "avg_subject_high": 0.4}
    odd = {"run": "odd", "avg": 0.5, "avg_low": 0.51, "avg_high": 0.6}  # a percentile interval may miss its value
    odd |= {"avg_subject_low": 0.3, "avg_subject_high": 0.49}
    one, two = (Image.open(io.BytesIO(draw_intervals(rows))) for rows in ([low], [low, odd]))
    assert two.height > one.height and two.width == one.width
    assert draw_intervals([low, odd]) != draw_intervals([low, {**odd, "avg": 0.52}])
    (axes,) = interval_figure([low, odd]).axes
    drawn = {
        lines.get_label(): [path.vertices[:, 0].tolist() for path in lines.get_paths()] for lines in axes.collections
    }
    assert drawn == {"by clips": [[0.1, 0.3], [0.51, 0.6]], "by subjects": [[0.05, 0.4], [0.3, 0.49]]}
    (axes,) = interval_figure([low, odd], narrow=True).axes
    assert [text.get_text() for text in axes.texts] == ["low", "odd"] and axes.get_xlim() == (0, 1)
    (narrow,) = (Image.open(io.BytesIO(draw_intervals([low, odd], narrow=True))),)
    assert narrow.width < one.width


class Page(HTMLParser):
    """Collects what a page loads, its texts and whether its tags close."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.words, self.open, self.scripts = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        self.scripts += tag == "script"
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open[-1] in ("option",) and tag != "option":
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def make_page(demo, **options):
    references = read_references(demo / "test.jsonl", Problems())
    runs = read_runs(find_predictions(demo / "out"), None, references, Problems())
    score_runs(demo / "out", references, runs, resamples=20, **options)
    return (demo / "out" / "report.html").read_text()


def test_page_stands_alone_and_shows_everything(demo):
    text = make_page(demo)
    page = Page(text)
    assert not page.open and page.scripts == 1
    assert all(load.startswith("data:image/") for load in page.loads)
    assert not re.search(r"https?://|@import|url\(", text)
    words = " ".join(" ".join(page.words).split())
    for part in ("casme2/sub01/EP02_01f", "What are the action units?", "brow lowerer, lid tightener", "anger"):
        assert part in words
    assert "✗ negative" in words and "✓ surprise" in words and "(invalid)" in words
    assert "votes negative × 3, positive × 2" in words and "agreement 0.60" in words and "margin 1.25" in words
    assert text.count('class="card"') == 5 and text.count("image/jpeg") == 20
    assert "up to 2.5 pixels" in words  # the legend follows the scale in the picture's metadata
    assert len(text) < 1_000_000


def test_page_tells_the_likeliest_choices(demo):
    predictions = demo / "out" / "model" / "predictions.jsonl"
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    rows[0]["choices"] = {"negative": -1.0, "positive": -2.0, "surprise": -9.0}  # 73.1, 26.9 and 0.02 %
    write_jsonl(predictions, rows)
    assert "choices negative 73%, positive 27%<" in make_page(demo)


def test_page_shows_matrices_and_agreement_as_text(demo):
    text = make_page(demo)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    # of three negative clips the model gets all; of the positive one it says negative
    assert "model: coarse class negative positive surprise negative 3 100 % · · positive 1 100 % · · surprise" in words
    assert "the coarse class is that of the fine class 5 4 80 % 0 0 %" in words
    assert "Perfect answers get a mean of six of 1.000 in megc2025" in words


def test_page_escapes_what_it_shows(demo):
    predictions = demo / "out" / "model" / "predictions.jsonl"
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    rows[1]["answer"] = "<script>alert(1)</script>"
    rows[2]["votes"] = ["<img src=x onerror=alert(1)>"] * 2
    write_jsonl(predictions, rows)
    text = make_page(demo)
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert "<img src=x" not in text and "<b>bold" not in text and "&lt;b&gt;bold" in text
    assert Page(text).scripts == 1


def test_page_marks_right_and_wrong_answers_of_each_run(demo):
    text = make_page(demo)
    references = read_references(demo / "test.jsonl", Problems())
    assert text.count('data-mark="right"') + text.count('data-mark="wrong"') == 2 * len(references)
    # model: 19 of 20 right; prior: the coarse class of the three negative clips
    assert text.count('data-mark="right"') == 19 + 3


def test_cards_are_limited_at_even_steps(demo):
    references = read_references(demo / "test.jsonl", Problems())
    cards, clips = make_cards(references, [], "megc2025", limit=3)
    assert clips == 5 and [card["clip"].split("/")[-1] for card in cards] == ["EP02_01f", "EP01_11f", "007_3_1"]
    assert "3 of the 5 clips" in make_page(demo, limit=3)


def test_thumbnails_are_small_and_gone_pictures_are_said_so(demo):
    (demo / "frames" / "samm" / "006" / "006_1_2" / "apex.png").write_bytes(b"no picture")
    (demo / "frames" / "samm" / "006" / "006_1_2" / "onset.png").unlink()
    assert make_page(demo).count("not found") == 2


def test_legend_of_other_pictures_comes_from_the_prompt_record(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    demo = make_demo(tmp_path / "set")
    monkeypatch.chdir(demo)
    references = read_references("test.jsonl", Problems())
    for _, path in references[0].images:
        Image.new("RGB", (28, 28)).save(path)  # no metadata, as in pictures of other projects
    # what lies above the questions' folder is of something else
    (tmp_path / "prompt.json").write_text('{"encoding": "uv-strain-minmax", "scale": 3.0}')
    assert make_legend(references) is None
    (demo / "prompt.json").write_text('{"encoding": "uv-strain-minmax", "scale": 3.0}')
    assert "relative to the strongest" in make_legend(references)["text"]
    assert make_legend([]) is None


def test_questions_without_true_answers_are_shown_with_the_answers_of_all_runs(demo):
    records = [json.loads(line) for line in (demo / "test.jsonl").read_text().splitlines()]
    for record in records:
        record["row"]["answer"] = record["messages"][-1]["content"] = ""
    write_jsonl(demo / "test.jsonl", records)
    problems = Problems()
    text = score_files(ScoreSettings(references=(demo / "test.jsonl",), out=demo / "out"), problems)
    assert not problems and "No row of the 20 has a true answer" in text
    # of the prior's 20 answers "x" is none in 15; the model's contradict each other nowhere
    assert "prior: 20 answers, 15 of them invalid; 0 of 5 clips: the coarse class" in text
    assert "model: 20 answers, 0 of them invalid; 4 of 5 clips: the coarse class" in text
    page = (demo / "out" / "report.html").read_text()
    assert not Page(page).open and page.count('class="card"') == 5 and page.count("image/jpeg") == 20
    assert "UF1" not in page and "✓" not in page and "✗" not in page and page.count('data-mark="unmarked"') == 40
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "coarse class 5 negative × 4, surprise × 1 negative × 5" in words  # model, prior
    assert not (demo / "out" / "metrics.csv").exists()


def test_missing_answers_to_questions_without_true_ones_are_named(demo):
    write_jsonl(demo / "rows.jsonl", [{**row, "answer": ""} for row in make_rows()])
    answered = [json.loads(line) for line in (demo / "out/model/predictions.jsonl").read_text().splitlines()]
    write_jsonl(demo / "out/model/predictions.jsonl", answered[:12])
    problems = Problems()
    text = score_files(ScoreSettings(references=(demo / "rows.jsonl",), out=demo / "out"), problems)
    assert "model: 12 answers" in text
    assert [problem.fix for problem in problems] == ["finish the run"]
    assert "8 of 20 answers are missing" in next(iter(problems)).what


def test_key_frames_are_shown_though_the_question_has_the_flow_only(demo):
    lines = (demo / "test.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    write_jsonl(demo / "test.jsonl", [{**record, "images": record["images"][3:]} for record in records])
    captions = [[caption for caption, _ in r.images] for r in read_references(demo / "test.jsonl", Problems())]
    assert captions == [["onset", "apex", "offset", "motion"]] * len(records)
