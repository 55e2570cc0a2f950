"""Evaluation while training is on subjects that are neither trained on nor kept for the test, and counts exactly."""

import pytest
import torch
from sft_runs import arguments, log_of, settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_data import SMALL, write_instructions

from megc.files import read_jsonl, write_jsonl
from megc.model import checkpoint
from megc.problems import DataError
from megc.splits import Fold, write_folds
from megc.training.data import read_training_data
from megc.training.sft import prepare, train


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return write_instructions(folder, clips=6, size=SMALL), folder / "tiny"


def subjects(samples):
    return {sample.record["subject"] for sample in samples}


def test_validation_share_takes_whole_subjects_of_each_dataset_out(world, tmp_path):
    rows = [row for _, row in read_jsonl(world[0])]
    for row in rows[18:]:
        row["dataset"] = "other"
    path = world[0].with_name("two_datasets.jsonl")
    write_jsonl(path, rows)
    run = settings(path, world[1], validation_share=0.34)
    data, again = (read_training_data(run, seed=3) for _ in range(2))
    held, kept = subjects(data.evaluated), subjects(data.samples)
    assert not held & kept and len(held | kept) == 6 and len(held) == 4
    assert {sample.record["dataset"] for sample in data.evaluated} == {"demo", "other"}
    assert held == subjects(again.evaluated)
    draws = {frozenset(subjects(read_training_data(run, seed).evaluated)) for seed in range(5)}
    assert len(draws) > 1


def test_evaluation_does_not_depend_on_batches_or_packing(world, tmp_path):
    found = []
    for packing, size in (("clip", 1), ("clip", 2), ("none", 5)):
        run = settings(*world, validation_share=0.5, packing=packing, loss_per="question")
        args = arguments(tmp_path, per_device_eval_batch_size=size, eval_strategy="epoch")
        found.append(prepare(run, args).trainer.evaluate())
    for name in ("eval_loss", "eval_answers_right", "eval_right_coarse", "eval_right_shown"):
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-5)
        assert found[0][name] == pytest.approx(found[2][name], rel=1e-5)


@pytest.mark.parametrize("adapters", [0, 4])
def test_best_checkpoint_is_chosen_by_validation_and_logged_everywhere(world, tmp_path, adapters):
    """The best is told to be the one of the highest loss, which falls: not the last checkpoint."""
    more = {
        "max_steps": 6,
        "greater_is_better": True,
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 2,
    }
    more |= {"eval_steps": 2, "load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    run = settings(*world, validation_share=0.3, lora_rank=adapters)
    train(run, arguments(tmp_path, report_to="tensorboard", save_total_limit=2, **more))
    losses = [float(value) for value in log_of(tmp_path, "eval_loss")]
    best = tmp_path / f"checkpoint-{2 + 2 * losses.index(max(losses))}"
    assert losses[-1] < max(losses)
    wanted, found = (checkpoint.load_model(folder).state_dict() for folder in (best, tmp_path))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    data = checkpoint.read_training_info(tmp_path)["data"]
    assert len(data["validation_subjects"]) == 2 and not set(data["validation_subjects"]) & set(data["subjects"])
    events = EventAccumulator(str(next(tmp_path.rglob("events.out.*")).parent)).Reload()
    assert [round(event.value, 4) for event in events.Scalars("eval/loss")] == [round(loss, 4) for loss in losses]


def test_evaluation_files_with_trained_or_test_subjects_are_refused(world, tmp_path):
    path, base = world
    other = write_instructions(path.parent, clips=2, first=7, name="other.jsonl", size=SMALL)
    run = settings(path, base, eval_file=str(other))
    assert subjects(read_training_data(run, 0).evaluated) == {"sub07", "sub08"}
    split = path.with_suffix(".split.json")
    fold = Fold("holdout", tuple(f"demo/sub{n:02d}" for n in range(6)), ("demo/sub08",))
    write_folds(split, [fold], {"protocol": "holdout", "fold": 0})
    with pytest.raises(DataError, match=r"other.jsonl, row demo_sub08_EP01_0: subject demo/sub08 is kept for the"):
        read_training_data(run, 0)
    split.unlink()
    mixed = write_instructions(path.parent, clips=2, first=5, name="mixed.jsonl", size=SMALL)
    with pytest.raises(DataError, match="row demo_sub05_EP01_0: subject demo/sub05 is also trained on"):
        read_training_data(settings(path, base, eval_file=str(mixed)), 0)


def test_too_few_subjects_are_an_error(world, tmp_path):
    one = write_instructions(world[0].parent, clips=1, name="one.jsonl", size=SMALL)
    with pytest.raises(DataError, match="too few to hold any out; lower or leave out --validation_share"):
        read_training_data(settings(one, world[1], validation_share=0.5), 0)
