"""Grid files: keys checked with a near match, defaults and changes, arms as chains of steps that share work."""

from pathlib import Path

import pytest
import yaml

from megc.ablation.arms import PROBE, chains
from megc.ablation.flags import as_flags, known_flags
from megc.ablation.spec import Grid, merge, read_grid
from megc.ablation.steps import OutputOf, Step, steps_in_order
from megc.problems import DataError

ROOT = Path(__file__).parents[2]
FILES = [
    file for file in sorted((ROOT / "ablation").glob("*.yaml")) if file.name != "spotting.yaml"
]  # cross_spot.py's


def grid_of(folder: Path, arms: dict, changes: tuple[str, ...] = (), **top: object) -> Grid:
    """A grid on the clips of `folder`."""
    file = folder / "grid.yaml"
    places = {name: str(folder / name) for name in ("frames", "flow")}
    defaults = {"data": {"clips": str(folder / "clips.jsonl"), **places, "images": ["flow"]}}
    defaults["train"] = {"config": str(ROOT / "train" / "tiny.yaml"), "max_steps": 2}
    file.write_text(yaml.safe_dump({"defaults": defaults, "arms": arms, **top}, sort_keys=False))
    return read_grid(file, changes)


def steps_of(grid: Grid, arm: str) -> dict[str, Step]:
    """The steps of an arm by kind."""
    found = [chain.answers for chain in chains(grid, (arm,)) if chain.arm == arm]
    return {step.kind: step for step in steps_in_order(found)}


def words(step: Step, command: int = -1) -> list[str]:
    """A command's words; what earlier steps made by the step's kind."""
    return [
        f"{a.step.kind}/{a.name}" if isinstance(a, OutputOf) else str(getattr(a, "text", a))
        for a in step.commands[command]
    ]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"trian": {}}}, "arms: a: trian.*did you mean train"),
        ({"a": {"data": {"image": ["flow"]}}}, "arms: a: data: image.*did you mean images"),
        ({"a": {"train": {"max_step": 3}}}, "train: max_step.*did you mean max_steps"),
        ({"a": {"train": {"output_dir": "x"}}}, "output_dir.*sets this itself"),
        ({"a": {"answer": {"vote": 5}}}, "answer: vote.*did you mean votes"),
        ({"a": {"train": 3}}, "train is 3, not one of 'none' or an object"),
        ({"a": {"then": ["fuse"]}}, r"then\[0\] is 'fuse', not an object"),
        ({"a": {"pretrain": {"sft": {}}}}, "there is no key 'pretrain.sft'"),
        ({"a": {"after": "c"}, "b": {}}, "arms: a: after: there is no arm 'c'; choose from a, b"),
        ({"a": {"after": ""}}, "arms: a: after: there is no arm ''"),
        ({"a": {"after": "b"}, "b": {"train_of": "a"}}, "b: train_of: a → b → a is a circle of after and train_of"),
        ({"a": {}, "b": {"after": "c"}, "c": {"after": "b"}}, "grid.yaml, row arms: c: after: b → c → b is a circle"),
        ({}, "no arms"),
    ],
)
def test_a_bad_grid_is_told_with_a_near_match(arms: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        grid_of(tmp_path, arms)


def test_top_level_keys_and_changes_are_checked(tmp_path: Path) -> None:
    for changes, top, message in (
        ((), {"seed": [1]}, "seed.*did you mean seeds"),
        ((), {"full": "b"}, "full: b"),
        ((), {"protocol": "lono"}, "protocol is 'lono', not one of"),
        (("train.max_step=1",), {}, "did you mean max_steps"),
        (("max_steps",), {}, "KEY=VALUE"),
    ):
        with pytest.raises(DataError, match=message):
            grid_of(tmp_path, {"a": {}}, changes, **top)


def test_full_may_be_an_arm_called_0(tmp_path: Path) -> None:
    assert grid_of(tmp_path, {"a": {}, "0": {}}, full=0).full == "0"
    with pytest.raises(DataError, match="row full: 0: no such key; choose from a, b"):
        grid_of(tmp_path, {"a": {}, "b": {}}, full=0)


def test_defaults_changes_and_arms_are_put_together(tmp_path: Path) -> None:
    arms = {"a": {"train": {"learning-rate": 1e-4}}, "b": {"data": {"images": ["apex"]}, "train": "none"}}
    grid = grid_of(tmp_path, arms, ("train.max_steps=7", "folds=3", "model=some/name"), protocol="kfold")
    assert grid.arms["a"].section("train")["max_steps"] == 7 and grid.folds == 3 and grid.full == "a"
    assert grid.arms["a"].section("train")["learning_rate"] == 1e-4
    assert grid.arms["b"].section("data")["images"] == ["apex"] and grid.arms["b"].sections["train"] == "none"
    assert grid.arms["b"].sections["model"] == "some/name"
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "c": 3}, "d": None}) == {"a": {"c": 3}}


def test_flags_are_read_from_the_programs() -> None:
    assert {"images", "flow-dir", "bare"} <= known_flags("data_process/build_instructions.py")
    assert {"max_steps", "packing"} <= known_flags("train.py")
    found = as_flags("data_process/build_instructions.py", {"bare": True, "images": ["a", "b"], "no_legend": False})
    assert found == ("--bare", "--images", "a", "b")
    found = as_flags("test/generate_answers.py", {"constrain-units": False, "votes": 5, "overwrite": False})
    assert found == ("--no-constrain-units", "--votes", "5")
    assert as_flags("train.py", {"bf16": True, "max_steps": 3, "seed": None}) == ("--bf16", "true", "--max_steps", "3")


def test_arms_share_data_and_training(data: Path) -> None:
    arms = {
        "full": {},
        "blank": {"train_of": "full", "answer": {"blank": "flow"}},
        "longer": {"after": "full", "train": {"max_steps": 9}},
        "bare": {"train_of": "full", "data": {"bare": True}},
        "untrained": {"train": "none"},
        "base of others": {"train": "none", "model": "some/name"},
    }
    grid = grid_of(data, arms)
    full, blank, longer, bare = (steps_of(grid, name) for name in ("full", "blank", "longer", "bare"))
    assert full["train"] == blank["train"] and full["answer"] != blank["answer"]
    assert "--allow-mismatch" in words(bare["answer"]) and "--allow-mismatch" not in words(blank["answer"])
    assert "train/checkpoint" in words(longer["train"]) and "--blank" in words(blank["answer"])
    untrained = words(steps_of(grid, "untrained")["train"])
    assert untrained[untrained.index("--learning_rate") + 1] == "0"
    other = steps_of(grid, "base of others")
    assert "train" not in other and "some/name" in words(other["answer"])
    kinds = [step.kind for step in steps_in_order([chain.answers for chain in chains(grid)])]
    assert kinds.count("data") == 2 and kinds.count("train") == 3, "bare data, and three trainings"


def test_an_arm_is_asked_as_the_arm_was_trained_whose_checkpoint_it_takes(data: Path) -> None:
    arms = {
        "full": {"data": {"images": ["flow", "apex"], "bare": None}, "flow": {"encoding": "uv-strain"}},
        "votes": {"train_of": "full", "answer": {"votes": 5, "decode": "sample"}},
        "votes on flow": {"train_of": "votes", "data": {"images": ["flow"]}},
        "votes, flow as ever": {"train_of": "votes", "flow": None},
    }
    grid = grid_of(data, arms, ("data.bare=true",))
    full, votes, on_flow, as_ever = (grid.arms[name] for name in arms)
    assert votes.section("data") == full.section("data") and "bare" not in votes.section("data")
    assert on_flow.section("data") == {**full.section("data"), "images": ["flow"]}
    assert on_flow.section("flow") == full.section("flow") != as_ever.section("flow")
    asked = [words(steps_of(grid, name)["answer"]) for name in ("votes", "votes on flow")]
    assert ["--allow-mismatch" in command for command in asked] == [False, True]


def test_pretraining_is_shared_by_folds_and_seeds(data: Path) -> None:
    arms = {"a": {"pretrain": {"make": {"clips": 10}, "train": {"max_steps": 5}}}}
    grid = grid_of(data, arms, protocol="kfold", folds=2, seeds=[0, 1])
    found = chains(grid)
    steps = steps_in_order([chain.answers for chain in found])
    kinds = [step.kind for step in steps]
    assert kinds.count("pretrain") == 1 and kinds.count("flows") == 1 and kinds.count("train") == 4
    assert [chain.arm for chain in found][:4] == ["a"] * 4 and found[-1].arm == PROBE
    assert not {"data"} & {step.kind for step in steps_in_order([s for s in steps if s.kind == "pretrain"])}


def test_fitted_fusion_reads_training_subjects_only(data: Path) -> None:
    arms = {"fused": {"then": [{"reason": {"reason": ["joint", "compose"]}}, {"fuse": {"fit": True}}]}}
    with pytest.raises(DataError, match="inner_folds"):
        chains(grid_of(data, arms))
    arms["fused"]["train"] = {"max_steps": 6}
    grid = grid_of(data, arms, inner_folds=3)
    found = steps_of(grid, "fused")
    fuse = words(found["fuse"])
    assert fuse[fuse.index("--predictions") + 1] == "reason/predictions.jsonl"
    assert fuse[fuse.index("--fit") + 1] == "answer-inner/predictions.jsonl"
    assert "data/inner0_test.jsonl" in words(found["answer-inner"])
    assert "data/inner0_train.jsonl" in words(found["train-inner"])
    assert words(found["train"])[words(found["train"]).index("--max_steps") + 1] == "6"
    assert words(found["train-inner"])[words(found["train-inner"]).index("--max_steps") + 1] == "4", (
        "of three folds two"
    )
    inner = words(found["data"], -1)
    assert inner[inner.index("--instructions") + 1] == "StepFile(name='train.jsonl')", (
        "the inner split is of the training side"
    )


def test_an_ensemble_of_seeds_shares_its_trainings(data: Path) -> None:
    arms = {"one": {}, "three": {"train_of": "one", "ensemble": True}}
    fused = {"fused": {**arms["three"], "then": [{"fuse": {"fit": True}}]}}
    grid = grid_of(data, arms | fused, inner_folds=2, seeds=[0, 1, 2])
    chain, *others = (chain for chain in chains(grid) if chain.arm == "fused")
    assert [other.answers for other in others] == [chain.answers] * 2, "whichever the seed, one answer"
    steps = steps_in_order([chain.answers])
    assert words(chain.model_answers).count("train/checkpoint") == 3
    (held_out,) = (words(step) for step in steps if step.kind == "answer-inner")
    assert held_out.count("train-inner/checkpoint") == 3 and "data/inner0_test.jsonl" in held_out
    kinds = [step.kind for step in steps_in_order([chain.answers for chain in chains(grid)])]
    assert kinds.count("train") == kinds.count("train-inner") == 3, "they are those of the single models"
    with pytest.raises(DataError, match="ensemble"):
        grid_of(data, {"a": {"ensemble": 3}})


def test_the_mirrored_probe_is_a_row_and_the_evidence_of_arms_that_say_so(data: Path) -> None:
    arms = {"plain": {"then": [{"fuse": {}}]}, "mirrored": {"then": [{"fuse": {"mirrored": True}}]}}
    grid = grid_of(data, arms, baselines={"features": "flow", "mirrored": True})
    assert chains(grid)[-1].arm == "flow probe, mirrored" and "--mirrored" not in words(chains(grid)[-1].answers)
    evidence = {arm: words(steps_of(grid, arm)["evidence"]) for arm in arms}
    assert "mirrored-probe" in evidence["mirrored"] and "mirrored-probe" not in evidence["plain"]


def test_baselines_may_read_other_pictures(data: Path) -> None:
    grid = grid_of(data, {"a": {}}, baselines={"features": "picture", "data": {"encoding": "colour"}})
    probe = chains(grid)[-1]
    assert "--data" not in words(probe.answers) and "picture" in words(probe.answers)
    assert "colour" in words(probe.data, 0) and "colour" not in words(chains(grid)[0].data, 0)
    with pytest.raises(DataError, match=r"baselines: data: encodings.*did you mean encoding"):
        grid_of(data, {"a": {}}, baselines={"data": {"encodings": "colour"}})


def test_folds_of_each_protocol(data: Path) -> None:
    for protocol, folds in (("holdout", 1), ("kfold", 4), ("loso", 6), ("cross-dataset", 2)):
        found = chains(grid_of(data, {"a": {}}, protocol=protocol, folds=4))
        assert {chain.fold for chain in found} == set(range(folds)), protocol


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_grids_of_the_repository_can_be_read(file: Path) -> None:
    grid = read_grid(file)
    assert grid.full in grid.arms
