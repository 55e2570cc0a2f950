"""Lists of clips by subject from clips.jsonl, and the clips of a list classified, through a kill."""

import json

import numpy as np
import pytest
from clip_folder import make_clips
from video_clips import video_arguments, video_settings, write_clips

from megc.clips import write_clips as write_clips_file
from megc.csv_tables import read_table
from megc.problems import DataError, Problems
from megc.spotting import clip_classification
from megc.spotting.clip_classification import _resume, classify_clips, recalls_with_intervals
from megc.spotting.clip_dataset import crop_square
from megc.spotting.clip_lists import ClipListSource, export_clip_lists, read_clip_list
from megc.spotting.settings import ClassifyClipsSettings, ExportClipListsSettings
from megc.spotting.video_training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a classifier and a list that it was not trained on."""
    folder = tmp_path_factory.mktemp("clips")
    more = {"max_steps": 60, "learning_rate": 1e-2, "per_device_train_batch_size": 4}
    train(video_settings(write_clips(folder, 8), crop="plain"), video_arguments(folder / "model", **more))
    write_clips(folder, 6, "test.csv", first=8)
    (folder / "classes.json").write_text('["still", "moving"]')
    return folder


def settings(folder, out, **more):
    return ClassifyClipsSettings(
        folder / "model", folder / "test.csv", folder / out, crop="plain", batch=3, crops=1, **more
    )


def test_clips_of_a_list_are_named_and_counted(trained):
    assert "UAR 1.000 [1.000, 1.000]" in classify_clips(settings(trained, "out"), Problems())
    rows = read_table(trained / "out" / "predictions.csv")
    assert rows["predicted"].tolist() == ["still", "moving"] * 3 and np.allclose(rows["p_still"] + rows["p_moving"], 1)
    assert read_table(trained / "out" / "confusion.csv")["moving"].tolist() == [0, 3]
    metrics = read_table(trained / "out" / "metrics.csv").set_index("metric")
    assert metrics.loc["war", "value"] == 1 and not (trained / "out" / "predictions.part.jsonl").exists()


def test_a_killed_run_goes_on_with_what_is_classified(trained, monkeypatch):
    classify_clips(settings(trained, "whole"), Problems())
    computed, whole = [], clip_classification.class_probabilities

    def stopped_at_the_fourth(*args):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(whole(*args))
        return computed[-1]

    monkeypatch.setattr(clip_classification, "class_probabilities", stopped_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        classify_clips(settings(trained, "killed"), Problems())
    part = trained / "killed" / "predictions.part.jsonl"
    part.write_text(part.read_text() + "[0.3, 0.")  # as a kill in the middle of a line leaves it
    again = []
    monkeypatch.setattr(clip_classification, "class_probabilities", lambda *args: again.append(1) or whole(*args))
    classify_clips(settings(trained, "killed"), Problems())
    assert len(again) == 3
    for name in ("predictions.csv", "metrics.csv", "confusion.csv"):
        assert (trained / "killed" / name).read_bytes() == (trained / "whole" / name).read_bytes()


def test_other_crops_and_other_classes_are_refused(trained):
    with pytest.raises(DataError, match="cut otherwise"):
        classify_clips(
            ClassifyClipsSettings(trained / "model", trained / "test.csv", trained / "x", crop="a"), Problems()
        )
    with pytest.raises(DataError, match="how these were is not recorded"):
        classify_clips(ClassifyClipsSettings(trained / "model", trained / "test.csv", trained / "x"), Problems())
    (trained / "more.csv").write_text("clips/009 2\n")
    with pytest.raises(DataError, match="the class 2, and the model has 2 classes"):
        unnamed = ClassifyClipsSettings(trained / "model", trained / "more.csv", trained / "x", any_crop=True)
        classify_clips(unnamed, Problems())


def test_views_are_starts_and_crops_of_a_clip(trained):
    source = ClipListSource(read_clip_list(trained / "test.csv"), 4, 2, starts=2)
    views = clip_classification.clip_views(source, 0, 32, 2)
    assert views.shape == (4, 4, 3, 32, 32)
    left = crop_square(source.frames(0, None), 32, (0, 0))  # of a picture 48 wide and 40 high
    assert np.allclose(
        views[0].movedim(1, -1)[0, 0, 0],
        (left[0, 0, 0] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        atol=1e-5,
    )


def test_intervals_hold_the_value_and_narrow_with_certainty():
    labels = np.repeat([0, 1], 20)
    predicted = labels.copy()
    predicted[:10] = 1
    value, low, high = recalls_with_intervals(labels, predicted, 500, 0)["uar"]
    assert value == 0.75 and low < 0.7 < value < 0.8 < high
    assert recalls_with_intervals(labels, labels, 100, 0)["war"] == (1, 1, 1)


def test_lists_of_clips_share_no_person(tmp_path):
    from dataclasses import replace

    clips = []
    for clip in make_clips(12):
        (tmp_path / "frames" / clip.id).mkdir(parents=True)
        clips.append(replace(clip, frames=f"frames/{clip.id}"))
    clips.append(replace(clips[0], id="casme2/sub01/EP99_01", name="EP99_01", fine="", coarse=""))
    write_clips_file(tmp_path / "clips.jsonl", clips)
    words = export_clip_lists(ExportClipListsSettings(tmp_path / "clips.jsonl", tmp_path / "lists"), Problems())
    assert "1 with no label left out" in words
    split = json.loads((tmp_path / "lists" / "split.json").read_text())
    subjects = {
        side: {"/".join(clip.path.parts[-3:-1]) for clip in read_clip_list(tmp_path / "lists" / f"{side}.csv")}
        for side in split
    }
    assert subjects == {side: set(names) for side, names in split.items()}
    assert sum(map(len, subjects.values())) == 12 and all(subjects.values())
    assert len(json.loads((tmp_path / "lists" / "classes.json").read_text())) == 2


def test_what_a_killed_run_left_counts_up_to_the_first_damaged_line(tmp_path):
    part, rows = tmp_path / "predictions.part.jsonl", [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]
    lines = [json.dumps("key"), *map(json.dumps, rows)]
    for damaged, count in (("[0.25, 0.", 1), ("[0.25]", 1), ('[0.25, "x"]', 1), ("[0.25, 0.75]", 3), ("\udcff", 1)):
        text = "".join(f"{line}\n" for line in [*lines[:2], damaged, lines[3]])
        part.write_bytes(text.encode(errors="surrogateescape"))
        assert _resume(part, "key", 2) == rows[:count]
        assert part.read_text().count("\n") == 1 + count
    assert _resume(part, "other", 2) == [] and part.read_text() == '"other"\n'


def test_a_class_of_many_digits_is_refused(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "a.csv").write_text("clip 99999999999\n")
    with pytest.raises(DataError, match="is not a path and a class"):
        read_clip_list(tmp_path / "a.csv")
