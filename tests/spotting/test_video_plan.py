"""--plan of train_video.py: what it counts in one and two layers is what the whole encoder keeps and computes."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from video_clips import video_arguments, video_settings, write_clips

from megc.spotting.video_config import LGI_FORMER, LGI_FORMER_TINY, VIDEOMAE_BASE, VIDEOMAE_TINY
from megc.spotting.video_encoders import build_autoencoder, build_classifier
from megc.spotting.video_plan import _kept_bytes, count_clip_cost, count_parameters, plan_video


@pytest.mark.parametrize("mask", [None, ("part_window", 0.5)], ids=["classify", "pretrain"])
@pytest.mark.parametrize("config", [VIDEOMAE_TINY, LGI_FORMER_TINY], ids=lambda config: config.architecture)
def test_counts_are_those_of_the_whole_encoder(config, mask):
    model = (build_autoencoder if mask else build_classifier)(config)
    clip = torch.randn(1, 16, 3, 64, 64)
    other = torch.tensor([[True, False] * 64]) if mask else torch.zeros(1, dtype=torch.long)
    cost = count_clip_cost(config, mask, half=False, checkpointing=False)
    assert cost.kept == pytest.approx(_kept_bytes(model, lambda: model(clip, other)), rel=1e-3)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip, other)
    assert cost.operations == counter.get_total_flops()
    assert count_clip_cost(config, mask, half=False, checkpointing=True).kept < 0.7 * cost.kept


def test_lgi_former_takes_38_percent_fewer_operations():
    operations = [count_clip_cost(config, None, False, False).operations for config in (LGI_FORMER, VIDEOMAE_BASE)]
    assert operations[0] / operations[1] == pytest.approx(0.62, abs=0.01)  # 38 %: Sun et al. 2023, table 1


def test_a_plan_names_parameters_steps_and_memory(tmp_path):
    settings = video_settings(write_clips(tmp_path, 6), architecture="lgi_former")
    plan = plan_video(settings, video_arguments(tmp_path / "out"), {"zero_optimization": {"stage": 2}})
    parameters = count_parameters(LGI_FORMER, pretrain=False)
    assert parameters.all == 84_878_343
    assert "6 clips of 4 × 32 px, 8 patches" in plan and "3 steps an epoch, 6 in all" in plan
    assert "hours on 1 × H100: estimated with --bf16 true alone" in plan
    assert "→ ZeRO-2" in plan and not (tmp_path / "out").exists()
