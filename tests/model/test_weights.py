"""A checkpoint whose weights are not whole is refused by name, wherever it is loaded."""

import json
import multiprocessing
import os
import shutil
import signal
import threading

import pytest
import torch
from answer_files import answer, write_questions
from safetensors.torch import load_file, save_file
from sft_runs import arguments, settings
from tiny_data import SMALL, write_instructions

from megc.model import checkpoint, tiny
from megc.model.parts import ADAPTER_FOLDER
from megc.model.weight_checks import loading_checkpoint
from megc.model.weights import content_hash, weights_hash
from megc.planning.dry_run import dry_run
from megc.problems import DataError
from megc.training import sft

HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def whole(checkpoint):
    return checkpoint


@pytest.fixture
def copy(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")
    record = json.loads((folder / "megc.json").read_text())
    del record["weights_hash"]
    (folder / "megc.json").write_text(json.dumps(record))
    return folder


def edit(folder, change):
    """Write the tensors of the folder again, as `change` leaves them."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def shard(folder, weight_map=None):
    """Write the folder's tensors as two shards and an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[:40], "model-2.safetensors": names[40:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weight_map or index))
    return folder


def poison(tensors, value):
    tensors[NORM][3] = value


def cast(tensors, kind):
    tensors[NORM] = tensors[NORM].to(kind)


def misshape(tensors):
    tensors[NORM] = torch.ones(3)


def pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncate(folder, size):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])


def point(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
    (folder / "model.safetensors").write_text(text)


BROKEN = {
    "missing": (
        lambda folder: edit(folder, lambda tensors: tensors.pop(NORM)),
        r"1 tensor\(s\) missing .*norm.weight",
    ),
    "all missing": (lambda folder: edit(folder, dict.clear), "missing .* more"),
    "renamed": (
        lambda folder: edit(folder, lambda tensors: tensors.update({"model.nrm.weight": tensors.pop(NORM)})),
        r"norm.weight.*; 1 tensor\(s\) unexpected \(.*nrm.weight",
    ),
    "unexpected": (
        lambda folder: edit(folder, lambda tensors: tensors.update(more=torch.ones(2))),
        r"unexpected \(more",
    ),
    "another shape": (lambda folder: edit(folder, misshape), r"another shape \(.*norm.weight: \(3,\), not \(128,\)"),
    "nan": (lambda folder: edit(folder, lambda tensors: poison(tensors, torch.nan)), f"NaN or infinity.*{NORM}"),
    "infinity": (lambda folder: edit(folder, lambda tensors: poison(tensors, torch.inf)), f"NaN or infinity.*{NORM}"),
    "8-bit integers": (
        lambda folder: edit(folder, lambda tensors: cast(tensors, torch.int8)),
        f"{NORM}: I8.*quantised",
    ),
    "8-bit floats": (
        lambda folder: edit(folder, lambda tensors: cast(tensors, torch.float8_e4m3fn)),
        f"{NORM}: F8_E4M3.*quantised",
    ),
    "truncated": (lambda folder: truncate(folder, 100_000), "truncated, 100,000 bytes"),
    "header cut": (lambda folder: truncate(folder, 5), "truncated, 5 bytes"),
    "empty": (lambda folder: truncate(folder, 0), "truncated, 0 bytes"),
    "pointer": (point, "Git LFS pointer.*git lfs pull"),
    "absent shard": (lambda folder: (shard(folder) / "model-2.safetensors").unlink(), "1 of 2 shards.*model-2"),
    "broken index": (lambda folder: shard(folder, {"x": 1}), "has no weight_map"),
    "pickle": (pickle, "pytorch_model.bin only, a pickle.*convert it"),
    "none": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
}
VALUES_ONLY = ("nan", "infinity")  # what --plan, which reads no values, cannot see


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_weights_are_named(copy, fault):
    damage, message = BROKEN[fault]
    damage(copy)
    with pytest.raises(DataError, match=message):
        checkpoint.load(copy, device="cpu")


def test_whole_weights_are_taken_in_one_file_in_shards_and_with_the_tied_head_written_out(copy):
    wanted = checkpoint.load_model(copy).state_dict()
    assert wanted[HEAD] is not None and HEAD not in load_file(copy / "model.safetensors")
    edit(copy, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS].clone()}))
    for folder in (copy, shard(copy)):
        state = checkpoint.load_model(folder).state_dict()
        assert all(torch.equal(state[name], value) for name, value in wanted.items())


@pytest.fixture(scope="module")
def train_file(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("data"), size=SMALL)


@pytest.mark.parametrize("fault", ["missing", "pointer", "absent shard", "nan"])
def test_training_and_plan_refuse_broken_weights(whole, copy, train_file, tmp_path, fault):
    damage, message = BROKEN[fault]
    damage(copy)
    run = settings(train_file, copy, build_tiny=False)
    with pytest.raises(DataError, match=message):
        sft.prepare(run, arguments(tmp_path / "out"))
    if fault in VALUES_ONLY:
        dry_run(run)
    else:
        with pytest.raises(DataError, match=message):
            dry_run(run)


def test_nothing_is_answered_with_broken_weights(copy, tmp_path):
    edit(copy, dict.clear)
    with pytest.raises(DataError, match="missing"):
        answer(copy, write_questions(tmp_path, clips=1), tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


# ---- the hash


STEPS = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}


@pytest.fixture(scope="module")
def trained(train_file, tmp_path_factory):
    """Folder of a run of two steps, `out`, and of the checkpoint that it began with, `base`."""
    folder = tmp_path_factory.mktemp("trained")
    sft.train(settings(train_file, folder / "base"), arguments(folder / "out", **STEPS))
    return folder


def test_a_saved_checkpoint_knows_its_weights(trained, tmp_path):
    out = shutil.copytree(trained / "out", tmp_path / "out")
    for folder in (trained / "base", out, out / "checkpoint-1"):
        assert checkpoint.read_training_info(folder)["weights_hash"] == weights_hash(folder)
        checkpoint.load(folder, device="cpu")
    edit(out, lambda tensors: poison(tensors, 7.0))
    with pytest.raises(DataError, match=r"the weights have the hash .* and megc.json says"):
        checkpoint.load(out, device="cpu")


def test_a_run_does_not_resume_from_weights_that_changed(train_file, trained, tmp_path):
    run, part = settings(train_file, trained / "base"), tmp_path / "part"
    shutil.copytree(trained / "out/checkpoint-1", part / "checkpoint-1")
    edit(part / "checkpoint-1", lambda tensors: tensors.pop(NORM))
    with pytest.raises(DataError, match=r"1 tensor\(s\) missing"):
        sft.train(run, arguments(part, resume_from_checkpoint="last", **STEPS))


def test_adapters_are_checked_too_and_merge_as_before(train_file, tmp_path):
    run = settings(train_file, tmp_path / "base", lora_rank=2)
    out = tmp_path / "out"
    sft.train(run, arguments(out, max_steps=1))
    assert checkpoint.read_training_info(out)["weights_hash"] == weights_hash(out)
    adapters = out / ADAPTER_FOLDER
    assert checkpoint.read_training_info(adapters)["weights_hash"] == weights_hash(adapters)
    merged, loaded = (checkpoint.load_model(folder).state_dict() for folder in (adapters, out))
    assert all(torch.equal(merged[name], value) for name, value in loaded.items())
    tensors = load_file(adapters / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    for change, message in (({}, f"missing.*{name.split('.')[-3]}"), ({name: tensors[name] * torch.nan}, "NaN")):
        kept = {key: value for key, value in tensors.items() if key != name} | change
        save_file(kept, adapters / "adapter_model.safetensors")
        (adapters / "megc.json").unlink(missing_ok=True)
        with pytest.raises(DataError, match=message):
            checkpoint.load_model(adapters)


def test_the_hash_of_a_folder_follows_its_content_and_that_of_the_base(whole, copy, tmp_path):
    assert content_hash(copy) == content_hash(whole)  # megc.json, which differs, is not of it
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    (adapters / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(copy)}))
    before = content_hash(adapters)
    edit(copy, lambda tensors: poison(tensors, 7.0))
    assert content_hash(copy) != content_hash(whole) and content_hash(adapters) != before


# ---- building the tiny checkpoint


TEXTS = ["a few words", "and no more"]


def test_under_zero3_the_tiny_checkpoint_is_built_whole(tmp_path, monkeypatch):
    import deepspeed
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, is_deepspeed_zero3_enabled

    def partition(*args, **kwargs):
        raise AssertionError("built inside ZeRO's init")

    monkeypatch.setattr(deepspeed.zero, "Init", partition)
    configuration = HfDeepSpeedConfig({"zero_optimization": {"stage": 3}, "train_micro_batch_size_per_gpu": 1})
    tiny.build(tmp_path / "zero3", TEXTS)
    assert is_deepspeed_zero3_enabled() and configuration.is_zero3()
    del configuration
    tiny.build(tmp_path / "plain", TEXTS)
    assert content_hash(tmp_path / "zero3") == content_hash(tmp_path / "plain")


def test_a_wreck_is_refused_and_a_build_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "tiny"
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "soften_attention", lambda model: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tiny.build(folder, TEXTS)
    assert not list(tmp_path.iterdir())
    assert tiny.ensure(folder, TEXTS) and not tiny.ensure(folder, TEXTS)
    edit(folder, dict.clear)
    with pytest.raises(DataError, match=r"not whole: .*missing.*delete the folder"):
        tiny.ensure(folder, TEXTS)
    (folder / "megc.json").unlink()
    with pytest.raises(DataError, match="left it unfinished"):
        tiny.ensure(folder, TEXTS)


def killed_build(folder):
    tiny.soften_attention = lambda model: os.kill(os.getpid(), signal.SIGKILL)
    tiny.build(folder, TEXTS)


def test_a_build_removes_what_killed_ones_left_and_spares_one_at_work(tmp_path):
    folder = tmp_path / "tiny"
    process = multiprocessing.get_context("fork").Process(target=killed_build, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(list(tmp_path.glob(".tiny.new-*/"))) == 1
    (tmp_path / ".tiny.old-0").mkdir()  # of a kill between renaming and deleting
    with tiny._folder_in_place(folder) as at_work:
        tiny._remove_leftovers(folder)
        assert at_work.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_several_builds_at_once_do_not_clash(tmp_path):
    folder, results = tmp_path / "tiny", []

    def build(words):
        results.append(tiny.build(folder, words))

    for _ in range(2):
        threads = [threading.Thread(target=build, args=(TEXTS,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    checkpoint.load_model(folder)


@pytest.mark.parametrize("error", [MemoryError(), ImportError("no flash_attn"), torch.OutOfMemoryError()])
def test_what_says_nothing_of_the_files_is_not_called_a_damaged_checkpoint(tmp_path, error):
    with pytest.raises(type(error)), loading_checkpoint(tmp_path):
        raise error
    words = r"cannot be loaded \(TypeError: no list\); give the folder of a Qwen2\.5-VL"
    with pytest.raises(DataError, match=words), loading_checkpoint(tmp_path):
        raise TypeError("no list")
