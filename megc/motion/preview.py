"""A contact sheet of one clip: key frames, landmarks, flow with its legend, and the motion of regions over time."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from megc.clips import Clip, frames_folder, read_clips
from megc.files import figure_png, resolve_inside, write_bytes
from megc.motion.apex import FEWEST_FRAMES, expression_strength
from megc.motion.colour import legend_image
from megc.motion.crop import crop_frame
from megc.motion.flow_files import drawn_with, picture_metadata, read_warnings
from megc.motion.frames import open_frames, read_image
from megc.motion.keyframes import clip_folder, read_align
from megc.motion.region_motion import Trace, measure_regions, sample_numbers
from megc.motion.regions import CENTRES
from megc.motion.settings import MOMENTS, PreviewSettings
from megc.problems import DataError, Problems

CURVES = 5  # regions with a curve of their own


def _trace(clip: Clip, clips_file: Path, align: dict) -> Trace | None:
    """Region motion against the onset over the clip's frames; None for a clip of too few frames."""
    frames = open_frames(frames_folder(clip, clips_file), clip.id)
    first, last = align["frames"]["onset"]["used"], align["frames"]["offset"]["used"]
    numbers = sample_numbers([number for number in frames.numbers if first <= number <= last], clip.fps)
    if len(numbers) < FEWEST_FRAMES:
        return None
    transform = np.array(align["transform"])
    crops = [crop_frame(image, transform) for _, image in frames.read_many(numbers)]
    return measure_regions(crops, np.array(align["landmarks"], np.float32), [number - first for number in numbers])


def draw_trace(axes: object, trace: Trace, fps: float, marks: Mapping[str, int], start: int) -> None:
    """Curves of the regions that move most and of the strength, with dotted lines at the frames `marks` by name.

    `start` is the frame number of the trace's first frame.
    """
    length = np.linalg.norm(trace.motion, axis=2)  # (frames, regions)
    moving = [index for index, name in enumerate(trace.names) if name in CENTRES]
    for index in sorted(moving, key=lambda column: -length[:, column].max())[:CURVES]:
        axes.plot(trace.positions + start, length[:, index], label=trace.names[index], linewidth=1)
    whole = expression_strength(trace, fps)
    axes.plot(np.arange(len(whole)) + start, whole, color="black", label="strength", linewidth=1.8)
    for name, number in marks.items():
        axes.axvline(number, color="grey", linestyle=":", linewidth=1)
        axes.annotate(
            name, (number, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="center", fontsize="small", color="dimgrey",
        )  # fmt: skip
    axes.set_xlabel("frame")
    axes.set_ylabel("motion from the onset, px")
    axes.margins(x=0.01)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)  # beside the curves


def contact_sheet(clip: Clip, clips_file: Path, frames: Path, flow: Path) -> bytes:
    """PNG of the contact sheet. Raises DataError where key frames or the flow picture of the clip are missing."""
    folder, picture = clip_folder(frames, clip.id), clip_folder(flow, f"{clip.id}.png")
    align = read_align(folder)
    if align is None:
        raise DataError(folder, clip.id, "no key frames", "run data_process/extract_frames.py first")
    metadata = picture_metadata(picture)
    settings = drawn_with(picture)
    if not settings:
        raise DataError(picture, clip.id, "no flow picture", "run data_process/compute_flow.py first")

    # above: three key frames, the flow picture, its legend; below: motion over time
    figure = Figure(figsize=(13, 8), dpi=100, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    axes = top.subplots(1, 5)
    for panel, moment in zip(axes, MOMENTS, strict=False):
        source = align["frames"][moment]
        spotted = " (spotted)" if moment == "apex" and align["apex_spotted"] else ""
        panel.imshow(read_image(folder / f"{moment}.png", clip.id))
        panel.set_title(f"{moment}{spotted}: {source['file']}", fontsize=9)
    landmarks = np.array(align["landmarks"])
    axes[0].scatter(landmarks[:, 0], landmarks[:, 1], s=4, color="yellow")
    axes[3].imshow(read_image(picture, clip.id))
    axes[3].set_title(f"flow: {settings['method']}, {settings['compensate']}, {settings['encoding']}", fontsize=9)
    axes[4].imshow(legend_image(settings["encoding"], settings["scale"], size=280))
    axes[4].set_title(metadata["scale"], fontsize=8)
    for panel in axes:
        panel.set_axis_off()
    units = " + ".join(f"{unit.side or ''} AU{unit.number}".strip() for unit in clip.action_units)
    title = f"{clip.id}   {units}   {clip.fine} {f'({clip.coarse})' if clip.coarse else ''}"
    top.suptitle(title + "\n" + textwrap.fill(metadata["legend"], 130), fontsize=10)
    panel = bottom.subplots()
    trace = _trace(clip, clips_file, align)  # measured anew: key frames alone have no course over time
    if trace is None:
        panel.text(0.5, 0.5, "too few frames to draw motion over time", ha="center")
        panel.set_axis_off()
    else:
        marks = {moment: align["frames"][moment]["used"] for moment in MOMENTS}
        draw_trace(panel, trace, clip.fps, marks, marks["onset"])
    warnings = [*align["warnings"], *read_warnings(metadata)]
    # what a reader noted of the apex before it was spotted holds no longer
    clip_notes = [note for note in clip.notes if not (align["apex_spotted"] and "not spotted yet" in note)]
    notes = "; ".join([*clip_notes, *align["notes"], *warnings])
    if notes:
        bottom.suptitle(notes, fontsize=8)
    return figure_png(figure)


def write_preview(settings: PreviewSettings, _problems: Problems) -> str:
    """Write the contact sheet of one clip; returns a summary. Raises DataError for a clip that is not in the file."""
    clips = {clip.id: clip for clip in read_clips(settings.clips)}
    name = settings.clip or next(iter(clips), "")
    if name not in clips:
        examples = ", ".join(list(clips)[:3])
        raise DataError(settings.clips, None, f"no clip {name!r}", f"give one of its ids, such as {examples}")
    out = settings.out or resolve_inside("result/preview", f"{name.replace('/', '_')}.png")
    folder = settings.clips.parent  # of a dataset whose pictures lie beside its clips
    frames = settings.frames or (folder / "frames" if (folder / "frames").is_dir() else folder)
    flow = settings.flow or folder / "flow"
    write_bytes(out, contact_sheet(clips[name], settings.clips, frames, flow))
    return f"written to {out}"
