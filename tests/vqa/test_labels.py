"""Labels of clips: from rows and records, the first answer counts, the sentence stands in, shares are smoothed."""

from score_files import CLIPS, make_records, make_rows

from megc.files import write_jsonl
from megc.vqa.labels import ClipLabels, answers_by_clip, clip_labels, read_labels, record_labels, smoothed_share
from megc.vqa.questions import TEMPLATES, compose_long


def row(question: str, answer: str) -> dict[str, str]:
    names = {"dataset": "casme2", "image_id": "sub01_EP02", "subject": "sub01", "filename": "EP02"}
    return {"id": "x", **names, "question": question, "answer": answer}


def test_labels_are_those_of_the_clips_in_their_order(tmp_path) -> None:
    labels = clip_labels(make_rows())
    assert [(label.dataset, label.coarse, label.fine) for label in labels] == [
        (dataset, coarse, fine) for dataset, _, _, coarse, fine, _ in CLIPS
    ]
    assert [label.units for label in labels] == [(12,), (4, 7), (1,), (7,), (20,)]
    assert labels[3].clip == "samm/006/006_1_2" and labels[3].subject_key == "samm/006"
    records = make_records(tmp_path, make_rows())
    assert record_labels(records) == labels
    write_jsonl(tmp_path / "records.jsonl", records)
    assert read_labels(tmp_path / "records.jsonl") == labels


def test_the_sentence_stands_in_for_a_question_that_the_clip_lacks() -> None:
    sentence = row(TEMPLATES["long"][1], compose_long("brow lowerer, lid tightener", "disgust", "negative"))
    (label,) = clip_labels([sentence])
    assert (label.units, label.fine, label.coarse, label.side) == ((4, 7), "disgust", "negative", "")
    (label,) = clip_labels([sentence, row(TEMPLATES["fine"][0], "repression")])
    assert label.fine == "repression" and label.coarse == "negative"


def test_the_first_answer_counts_and_empty_ones_do_not() -> None:
    answered = [("a", "fine", ""), ("b", "fine", "fear"), ("a", "fine", "anger"), ("a", "fine", "fear")]
    assert answers_by_clip(answered) == {"b": {"fine": "fear"}, "a": {"fine": "anger"}}
    assert (
        clip_labels([row(TEMPLATES["coarse"][0], ""), row(TEMPLATES["shown"][0].format(unit="dimpler"), "no")]) == []
    )


def test_a_copy_is_a_clip_of_its_own_among_records_only(tmp_path) -> None:
    records = make_records(tmp_path, make_rows()[:4])
    copies = [{**record, "clip": f"{record['clip']}~0", "id": f"{record['id']}~0"} for record in records]
    assert [label.clip for label in record_labels(records + copies)] == [records[0]["clip"], copies[0]["clip"]]
    write_jsonl(tmp_path / "augmented.jsonl", records + copies)
    assert [label.clip for label in read_labels(tmp_path / "augmented.jsonl")] == [records[0]["clip"]]


def test_smoothing_pretends_one_clip_that_all_labels_share() -> None:
    assert smoothed_share(0, 0) == 0.5 and smoothed_share(3, 9) == 0.35
    assert sum(smoothed_share(count, 6, labels=4) for count in (0, 1, 2, 3)) == 1


def test_the_side_is_no_part_of_what_names_a_stored_run() -> None:
    """`Knowledge.hash` is of the repr: a label more must not make reasoned answers look like another run's."""
    assert "side" not in repr(ClipLabels("casme2/sub01/EP02", "casme2", "sub01", side="left"))
