"""The generator: fields of action units, true flow, blinks, people who differ."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from megc.facs import ME_VQA_UNITS
from megc.motion.faces import FaceFinder
from megc.synthesis.label_counts import WEIGHTS, parse_numbers
from megc.synthesis.render import ClipSpec, Rendering, UnitMotion, render_clip, true_flow
from megc.synthesis.scenes import CASME2_VIEW, plan_clips, samm_view
from megc.synthesis.settings import Difficulty
from megc.synthesis.subjects import make_subject
from megc.synthesis.unit_fields import TILT, node_grid, unit_field


def one_clip(*units, seed=5, **settings):
    motions = tuple(UnitMotion(*unit) for unit in units)
    return ClipSpec("casme2/sub01/EP01_01", seed, seed, CASME2_VIEW, 40, 65, 100, motions, "disgust", **settings)


def inner(field):
    return field[20:-20, 20:-20]


def test_every_unit_of_the_tables_has_a_field_of_one_pixel():
    subject, grid = make_subject(3, CASME2_VIEW), node_grid(280, 340)
    numbers = {
        n for strings in WEIGHTS.values() for table in strings.values() for text in table for n in parse_numbers(text)
    }
    assert numbers <= set(ME_VQA_UNITS)
    for number in numbers - {TILT}:
        peak = np.linalg.norm(unit_field(subject.points, 232, number, None, grid, seed=3), axis=-1).max()
        assert peak == pytest.approx(1, abs=1e-5)


def test_a_unit_on_one_side_moves_that_side_as_facs_says():
    subject = make_subject(5, CASME2_VIEW)
    for number, side, vertical in ((12, "left", -1), (12, "right", -1), (15, "left", 1), (2, "right", -1)):
        _, expression, _ = true_flow(one_clip((number, side, 2.0), drift=0.0))
        columns = np.abs(expression).sum((0, 2))
        middle = int(subject.points[30, 0])
        here = columns[middle:].sum() if side == "left" else columns[:middle].sum()
        assert here > 0.95 * columns.sum()
        assert np.sign(expression[..., 1].sum()) == vertical
        assert np.linalg.norm(expression, axis=-1).max() == pytest.approx(2.0, rel=0.08)


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_true_flow_closes_and_explains_the_apex_frame(seed):
    rendering = Rendering(one_clip((4, None, 2.5), (12, None, 2.5), seed=seed, noise=0.2))
    total, expression, valid = rendering.flow(40, 65)
    back = rendering.flow(65, 40)[0]
    grid = np.stack(np.meshgrid(np.arange(280), np.arange(340)), -1).astype(np.float32)
    closure = total + cv2.remap(back, grid + total, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(inner(closure)).max() < 0.1 and np.abs(inner(closure)).mean() < 0.01
    onset, apex = (rendering.image(number).astype(np.float32) for number in (40, 65))
    warped = cv2.remap(apex, grid + total, None, cv2.INTER_CUBIC)
    assert np.abs(inner(warped - onset)).mean() < 0.55 * np.abs(inner(apex - onset)).mean()
    assert valid.all() and np.abs(total - expression).max() > 0.2


def test_difficulty_knobs_reach_the_clips():
    still = Rendering(one_clip((4, None, 1.0), drift=0.0)).flow(40, 65)
    assert np.abs(still[0] - still[1]).max() == 0
    peaks = [max(unit.amplitude for unit in spec.units) for spec in plan_clips("casme2", 8, 16)]
    hard = plan_clips("casme2", 8, 16, difficulty=Difficulty(amplitude=0.55, drift=2.0, blink=1.0))
    hard_peaks = [max(unit.amplitude for unit in spec.units) for spec in hard]
    assert np.median(peaks) == pytest.approx(1.7, rel=0.12) and min(peaks) >= 0.79 and max(peaks) <= 3.51
    assert min(hard_peaks) >= 0.25 and max(hard_peaks) <= 1.14
    assert all(spec.blink for spec in hard) and {spec.drift for spec in hard} == {2.0}
    varied, plain = (
        unit_field(make_subject(4, CASME2_VIEW).points, 232, 12, None, node_grid(280, 340), 4, v) for v in (1.0, 0.0)
    )
    assert 0.02 < np.abs(varied - plain).mean() / np.abs(plain).mean() < 1


def test_a_blink_covers_the_eyes_and_is_marked_invalid():
    spec = one_clip((12, None, 1.0), drift=0.0, noise=0.0, blink=(25 / 200, 0.2))
    open_eyes, closed = (Rendering(each).image(65).astype(float) for each in (replace(spec, blink=None), spec))
    points = make_subject(spec.subject_seed, CASME2_VIEW).points
    _, _, valid = true_flow(spec)
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = points[eye].mean(0).astype(int)
        assert np.abs(closed - open_eyes)[y - 3 : y + 4, x - 5 : x + 6].mean() > 10
        assert not valid[y, x]
    changed = np.abs(closed - open_eyes).max(-1) > 12
    assert not changed[valid].any()


def test_apex_is_where_the_expression_is_largest():
    spec = plan_clips("samm", 1, 1, seed=4, view=samm_view(480))[0]
    rendering = Rendering(spec)
    motion = [
        np.linalg.norm(rendering.flow(spec.onset, number)[1], axis=-1).max()
        for number in range(spec.onset, spec.offset + 1, 3)
    ]
    apex = spec.onset + 3 * int(np.argmax(motion))
    assert abs(apex - spec.apex) <= 0.1 * (spec.offset - spec.onset)
    assert motion[0] == pytest.approx(0, abs=0.01) and motion[-1] < 0.2 * max(motion)
    assert 0.25 <= (spec.apex - spec.onset) / (spec.offset - spec.onset) <= 0.55


def test_frames_outside_a_clip_are_refused():
    with pytest.raises(ValueError, match="outside"):
        list(render_clip(one_clip((4, None, 1.0)), [39]))


def test_faces_are_found_and_subjects_differ():
    seen = []
    for specs in (plan_clips("casme2", 5, 1, seed=3), plan_clips("samm", 4, 1, seed=3)):
        for spec in specs:
            image = Rendering(spec).image(spec.onset)
            grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            face = FaceFinder().find(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), spec.id)
            points = make_subject(spec.subject_seed, spec.view).points  # less a head pose of a few pixels
            error = np.linalg.norm(face.landmarks - points, axis=1).mean() / (points[16, 0] - points[0, 0])
            assert error < 0.05 and not face.notes, spec.id
            seen.append(cv2.resize(grey, (28, 34), interpolation=cv2.INTER_AREA).astype(float))
    for group in (seen[:5], seen[5:]):
        distances = [np.abs(a - b).mean() for i, a in enumerate(group) for b in group[:i]]
        assert min(distances) > 4
