"""A picture of a long video, 1000 pixels wide: motion by region over time, spotted intervals, annotated events, faces.

Rows of equal length follow each other downwards, as lines of a page do. Above each row stand the faces at the apexes
of its spotted intervals; at the end stands how to read it all.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d, median_filter

from megc.clips import Event, Video
from megc.files import figure_png
from megc.motion.crop import align_transform, crop_frame
from megc.motion.faces import FaceFinder
from megc.motion.frames import open_frames
from megc.motion.region_stream import RegionFlow
from megc.motion.regions import SPOTTING_REGIONS
from megc.problems import DataError
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.spotted_intervals import find_runs
from megc.spotting.spotters import SpottingVideo

WIDTH = 1000  # pixels of the picture
ROW_SECONDS, MOST_ROWS = 25.0, 12  # a row is longer where the video has more than so many rows
SURROUNDINGS = 6.0  # seconds around a frame whose median is where a region is at rest
SMOOTHING = 0.05  # seconds, standard deviation; a micro-expression rises in 0.1 and more
LEAST_HEIGHT, MOST_HEIGHT = 2.0, 6.0  # pixels that a panel shows at least and at most
FACE = (62, 74)  # pixels of a thumbnail, width and height
MOST_FACES = 9  # thumbnails of a row, those of the highest scores

# Regions of SPOTTING_REGIONS by panel and by the person's side; the largest motion among them is drawn.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "brows": {
        "right": tuple(name for name in SPOTTING_REGIONS if name.startswith("right brow")),
        "left": tuple(name for name in SPOTTING_REGIONS if name.startswith("left brow")),
    },
    "lower lids": {"right": ("below right eye",), "left": ("below left eye",)},
    "nose": {"right": ("nose, right",), "left": ("nose, left",)},
    "mouth": {
        "right": ("mouth, right corner",),
        "left": ("mouth, left corner",),
        "middle": ("mouth, upper lip", "mouth, lower lip", "mouth, middle"),
    },
}
SIDE_COLOURS = {"right": "#009e73", "left": "#aa3377", "middle": "#777777"}  # told apart by colour-blind people too
TYPE_COLOURS = {"micro": "#d55e00", "macro": "#0072b2", "": "#555555"}
_BLINK, _NO_FACE = "#c9c9c9", "#eeeeee"
_LEFT, _RIGHT, _HEADER, _STRIP, _LANE, _PANEL, _AXIS, _FOOTER = 102, 14, 50, 112, 24, 56, 38, 128  # pixels


def region_excursions(flow: RegionFlow, surroundings: float = SURROUNDINGS) -> np.ndarray:
    """How far each region is from where it rests, (frames, 18) in pixels of a face 236 wide; NaN without a face.

    Its rest is the running median over `surroundings` (seconds) within the segment: slow turns of the head count
    little.
    """
    lengths = np.full(flow.flow.shape[:2], np.nan)
    for segment in range(int(flow.segments.max(initial=-1)) + 1):
        rows = np.flatnonzero(flow.segments == segment)
        if len(rows) < 2:
            continue
        step = float(np.median(np.diff(flow.times[rows])))
        size = int(min(surroundings / step, len(rows))) | 1
        motion = gaussian_filter1d(flow.flow[rows], SMOOTHING / step, axis=0, mode="nearest")
        rest = median_filter(motion, size=(size, 1, 1), mode="nearest")
        lengths[rows] = np.linalg.norm(motion - rest, axis=2)
    return lengths


def group_curves(excursions: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Curves (frames,) of GROUPS by panel and side: the largest excursion of their regions."""
    names = list(SPOTTING_REGIONS)
    return {
        group: {
            side: excursions[:, [names.index(name) for name in regions]].max(axis=1)
            for side, regions in by_side.items()
        }
        for group, by_side in GROUPS.items()
    }


def find_apex(flow: RegionFlow, excursions: np.ndarray, interval: SpottedInterval) -> int:
    """Frame number inside an interval where the region that moves most is farthest from its rest; else its middle."""
    inside = (flow.frame_numbers >= interval.onset) & (flow.frame_numbers <= interval.offset) & (flow.segments >= 0)
    if not inside.any():
        return round((interval.onset + interval.offset) / 2)
    strength = np.where(inside, np.nan_to_num(excursions.max(axis=1)), -1)
    return int(flow.frame_numbers[int(strength.argmax())])


def read_faces(item: SpottingVideo, numbers: Sequence[int]) -> dict[int, np.ndarray]:
    """Aligned crops (uint8 RGB) of the frames nearest to some numbers; those without a face, or that cannot be read,
    are left out. Raises DataError where the video has no frames."""
    frames = open_frames(item.frames, item.video.id)
    by_nearest: dict[int, list[int]] = {}
    for number in numbers:
        by_nearest.setdefault(frames.nearest(number), []).append(number)
    faces: dict[int, np.ndarray] = {}
    try:
        for nearest, image in frames.read_many(sorted(by_nearest)):
            try:
                face = FaceFinder().find(image, item.frames, item.video.id)
            except DataError:
                continue
            crop = crop_frame(image, align_transform(face.landmarks))
            faces |= dict.fromkeys(by_nearest[nearest], crop)
    except DataError:  # the file breaks off: the faces before are shown
        return faces
    return faces


def match_intervals(intervals: Sequence[SpottedInterval], events: Sequence[Event]) -> list[tuple[int, int]]:
    """Pairs (index of an interval, index of an event) that hit, as the profile `strict` matches them without types."""
    return list(match_best_first(ends_of(intervals), ends_of(events)).hits)


@dataclass(frozen=True)
class TimelineContent:
    """What a timeline shows: a video with its motion, spotted intervals in order of onset, and the faces at apexes.

    `apexes` (n,) are frame numbers; `hits` are those of `match_intervals`; `curves` are those of `group_curves`.
    `others` are intervals of other spotters, by name: bars only.
    """

    video: Video
    flow: RegionFlow
    intervals: Sequence[SpottedInterval]
    curves: Mapping[str, Mapping[str, np.ndarray]]
    apexes: Sequence[int]
    faces: Mapping[int, np.ndarray]
    hits: Sequence[tuple[int, int]]
    others: Mapping[str, Sequence[SpottedInterval]]
    spotter: str = ""

    @property
    def lanes(self) -> int:
        """How many lanes of bars there are."""
        return 1 + len(self.others) + bool(self.video.events)

    def second(self, number: float) -> float:
        """Time of a frame number in seconds from the first frame that was measured, also of uneven frame rates."""
        numbers, times = self.flow.frame_numbers, self.flow.times
        inside = np.interp(number, numbers, times)
        beyond = max(number - numbers[-1], 0) + min(number - numbers[0], 0)
        return float(inside + beyond / self.video.fps)

    def ends(self, row: object) -> tuple[float, float]:
        """First and last second of an interval or event, whose last frame lasts too."""
        return self.second(row.onset), self.second(row.offset) + 1 / self.video.fps


def timeline_content(
    item: SpottingVideo,
    intervals: Sequence[SpottedInterval],
    spotter: str = "",
    others: Mapping[str, Sequence[SpottedInterval]] | None = None,
) -> TimelineContent:
    """Read what the timeline of a video shows. Raises DataError where its region flow is missing."""
    flow = item.region_flow()
    excursions = region_excursions(flow)
    ordered = sorted(intervals, key=lambda interval: (interval.onset, interval.offset))
    apexes = [find_apex(flow, excursions, interval) for interval in ordered]
    crops = read_faces(item, apexes) if item.video.frames and apexes else {}
    hits = match_intervals(ordered, item.video.events)
    return TimelineContent(
        item.video, flow, ordered, group_curves(excursions), apexes, crops, hits, others or {}, spotter
    )


def draw_timeline(content: TimelineContent) -> bytes:
    """PNG of a timeline, WIDTH pixels wide."""
    length, rows, each = _layout(content)
    height = _HEADER + rows * each + _FOOTER
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    _write_title(figure, content, length)
    for row in range(rows):
        span = length * row / rows, length * (row + 1) / rows
        _draw_row(figure, content, span, height - _HEADER - row * each)
    _write_legend(figure, content)
    return figure_png(figure)


def _layout(content: TimelineContent) -> tuple[float, int, int]:
    """Seconds of the video, rows of the picture, and pixels of a row's height."""
    length = max(content.second(content.video.length or content.flow.frame_numbers[-1]), 1 / content.video.fps)
    rows = int(np.clip(np.ceil(length / ROW_SECONDS), 1, MOST_ROWS))
    return length, rows, _STRIP + content.lanes * _LANE + 6 + len(GROUPS) * _PANEL + _AXIS


def time_position(content: TimelineContent, second: float) -> tuple[float, float, float]:
    """Where a time stands in `draw_timeline`: its distance from the left, the top of its row's bars and curves from
    the top, and their height, as shares of the picture's width and height."""
    length, rows, each = _layout(content)
    share = float(np.clip(second / length, 0, 1)) * rows
    row = min(int(share), rows - 1)
    left = _LEFT + (share - row) * (WIDTH - _LEFT - _RIGHT)
    height = _HEADER + rows * each + _FOOTER
    return left / WIDTH, (_HEADER + row * each + _STRIP) / height, (each - _STRIP - _AXIS) / height


def _axes(figure: Figure, top: float, height: float, **settings: object) -> Axes:
    """Axes over the width of the picture, between its margins; `top` in pixels from the picture's lower border."""
    total = figure.get_figheight() * 100
    box = (_LEFT / WIDTH, (top - height) / total, (WIDTH - _LEFT - _RIGHT) / WIDTH, height / total)
    return figure.add_axes(box, **settings)


def _write_title(figure: Figure, content: TimelineContent, length: float) -> None:
    kinds = [interval.type for interval in content.intervals]
    texts = [f"{len(kinds)} spotted: {kinds.count('micro')} micro, {kinds.count('macro')} macro"]
    if events := content.video.events:
        hits = len(content.hits)
        texts.append(f"{len(events)} annotated: {hits} hit, {len(events) - hits} missed")
        texts.append(f"{len(kinds) - hits} false alarm(s)")
    total = figure.get_figheight() * 100
    name = content.video.name if content.video.dataset == "unknown" else content.video.id
    title = f"{name}   {length:.1f} s, {content.video.fps:g} frames a second"
    figure.text(0.012, 1 - 8 / total, title, fontsize=11, va="top", weight="bold", parse_math=False)
    by = f"by {content.spotter}: " if content.spotter else ""
    figure.text(0.012, 1 - 29 / total, by + "; ".join(texts), fontsize=9, va="top", parse_math=False)


def _draw_row(figure: Figure, content: TimelineContent, span: tuple[float, float], top: float) -> None:
    """One stretch of the video: faces, bars of intervals and events, and a panel for each group of regions."""
    seconds = [content.second(number) for number in content.apexes]
    inside = [index for index, second in enumerate(seconds) if span[0] <= second < span[1]]
    _draw_faces(_axes(figure, top, _STRIP), content, span, inside)
    top -= _STRIP
    _draw_lanes(_axes(figure, top, content.lanes * _LANE), content, span)
    top -= content.lanes * _LANE + 6
    for number, (group, by_side) in enumerate(content.curves.items()):
        axes = _axes(figure, top - number * _PANEL, _PANEL - 4)
        _draw_curves(axes, content, span, by_side)
        axes.set_ylabel(group, rotation=0, ha="right", va="center", fontsize=8.5, labelpad=4)
        last = number == len(content.curves) - 1
        axes.tick_params(labelbottom=last, labelsize=7.5)
        if last:
            axes.set_xlabel("seconds", fontsize=8, labelpad=1)


def _draw_faces(axes: Axes, content: TimelineContent, span: tuple[float, float], inside: Sequence[int]) -> None:
    """Thumbnails side by side, near the time of their apexes and joined to it by a line."""
    width = WIDTH - _LEFT - _RIGHT
    axes.set(xlim=(0, width), ylim=(0, _STRIP))
    axes.set_axis_off()
    best = sorted(inside, key=lambda index: -np.nan_to_num(content.intervals[index].score))[:MOST_FACES]
    chosen = sorted(best)
    slot = width / MOST_FACES
    times = [(content.second(content.apexes[index]) - span[0]) / (span[1] - span[0]) * width for index in chosen]
    # from left to right each at its time or behind the one before, then pushed back from the right border
    lefts: list[float] = []
    for time in times:
        lefts.append(max(time - slot / 2, lefts[-1] + slot if lefts else 0))
    for position in range(len(lefts) - 1, -1, -1):
        border = lefts[position + 1] if position + 1 < len(lefts) else width
        lefts[position] = min(lefts[position], border - slot)
    for index, time, left in zip(chosen, times, lefts, strict=True):
        interval, middle = content.intervals[index], left + slot / 2
        colour = TYPE_COLOURS[interval.type]
        text = f"{index + 1}: {content.second(content.apexes[index]):.1f} s\n{interval.emotion or interval.type}"
        axes.text(middle, _STRIP - 2, text, fontsize=7.5, ha="center", va="top", color=colour, linespacing=1.1)
        axes.plot([middle, time], [9, 0], color=colour, linewidth=1)
        box = (middle - FACE[0] / 2, middle + FACE[0] / 2, 9, 9 + FACE[1])
        if content.apexes[index] in content.faces:
            axes.imshow(content.faces[content.apexes[index]], extent=box, aspect="auto", interpolation="hanning")
        else:
            axes.text(middle, 9 + FACE[1] / 2, "no face", fontsize=7.5, ha="center", va="center", color="#777777")
        corners = [(box[0], box[2]), (box[1], box[2]), (box[1], box[3]), (box[0], box[3]), (box[0], box[2])]
        axes.plot(*zip(*corners, strict=True), color=colour, linewidth=1.5)
    axes.set(xlim=(0, width), ylim=(0, _STRIP))  # pictures move the limits


def _draw_lanes(axes: Axes, content: TimelineContent, span: tuple[float, float]) -> None:
    """Lanes of bars, each with a word: spotted intervals, those of other spotters, annotated events at the bottom."""
    events = content.video.events
    lanes = [("spotted" if not content.others else content.spotter, content.intervals)]
    lanes += [*content.others.items(), *([("annotated", events)] if events else [])]
    axes.set(xlim=span, ylim=(0, len(lanes)), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    per_pixel = (span[1] - span[0]) / (WIDTH - _LEFT - _RIGHT)
    for number, (name, rows) in enumerate(lanes, start=1):
        low = len(lanes) - number + 0.1
        label = textwrap.fill(textwrap.shorten(name, 26, placeholder="…"), 13)  # two lines beside the lane
        size = 8.5 if len(label) < 12 else 6.5
        axes.text(
            -0.008,
            low + 0.4,
            label,
            fontsize=size,
            ha="right",
            va="center",
            linespacing=1,
            transform=axes.get_yaxis_transform(),
        )
        pairs = content.hits if rows in (events, content.intervals) else match_intervals(rows, events)
        hits = {pair[rows is events] for pair in pairs}
        for index, row in enumerate(rows):
            start, end = content.ends(row)
            if end < span[0] or start > span[1]:
                continue
            colour = TYPE_COLOURS[row.type]
            filled = colour if index in hits or not events else "white"
            bar = [(start, max(end - start, 2 * per_pixel))]
            axes.broken_barh(bar, (low, 0.8), edgecolor=colour, linewidth=1.3, facecolor=filled)
            text = _bar_text(content, rows, index)
            later = [content.ends(other)[0] for other in rows[index + 1 :]]
            if rows is content.intervals or (min([*later, span[1]]) - end) / per_pixel > 6 * len(text):
                axes.text(end + 3 * per_pixel, low + 0.38, text, fontsize=7.5, va="center", clip_on=True)
    axes.set(xlim=span)


def _bar_text(content: TimelineContent, rows: Sequence, index: int) -> str:
    """Words beside a bar: the number of its face, else the emotion and the action units."""
    if rows is content.intervals:
        return str(index + 1)
    units = getattr(rows[index], "action_units", ())
    return " ".join(filter(None, [rows[index].emotion, *(f"AU{unit.number}" for unit in units)]))


def _draw_curves(axes: Axes, content: TimelineContent, span: tuple[float, float], by_side: Mapping) -> None:
    """Curves of a group over the shaded intervals, blinks and stretches without a face."""
    flow = content.flow
    step = float(np.median(np.diff(flow.times))) if len(flow.times) > 1 else 1 / content.video.fps
    for mask, colour, hatch in ((flow.segments < 0, _NO_FACE, "////"), (flow.blink, _BLINK, None)):
        for start, end in find_runs(mask).astype(int):
            left, right = flow.times[start] - step / 2, flow.times[end] + step / 2
            if right >= span[0] and left <= span[1]:
                axes.axvspan(left, right, facecolor=colour, hatch=hatch, edgecolor="#bbbbbb", linewidth=0, zorder=0)
    for interval in content.intervals:
        start, end = content.ends(interval)
        if end >= span[0] and start <= span[1]:
            axes.axvspan(start, end, color=TYPE_COLOURS[interval.type], alpha=0.22, linewidth=0, zorder=1)
    rows = (flow.times >= span[0] - 1) & (flow.times <= span[1] + 1)
    for side, curve in by_side.items():
        axes.plot(flow.times[rows], curve[rows], color=SIDE_COLOURS[side], linewidth=1, zorder=2)
    highest = max(float(np.nanmax(curve, initial=0)) for curve in by_side.values())
    height = float(np.clip(highest, LEAST_HEIGHT, MOST_HEIGHT))
    axes.set(xlim=span, ylim=(0, height * 1.04), yticks=range(0, int(height) + 1, 1 if height < 3 else 2))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _write_legend(figure: Figure, content: TimelineContent) -> None:
    """What the colours mean, and how to read the curves."""
    total = figure.get_figheight() * 100
    axes = figure.add_axes((0, 0, 1, _FOOTER / total), xlim=(0, WIDTH), ylim=(0, _FOOTER))
    axes.set_axis_off()
    x, y = 14.0, _FOOTER - 14
    patches = [("micro-expression", TYPE_COLOURS["micro"]), ("macro-expression", TYPE_COLOURS["macro"])]
    patches += [("blink", _BLINK)]
    lines = [("person's right side", "right"), ("left side", "left"), ("middle of the mouth", "middle")]
    for text, colour in patches:
        axes.broken_barh([(x, 16)], (y - 5, 10), color=colour)
        axes.text(x + 21, y, text, fontsize=8, va="center")
        x += 36 + 6.2 * len(text)
    if (content.flow.segments < 0).any():
        axes.broken_barh([(x, 16)], (y - 5, 10), facecolor=_NO_FACE, hatch="////", edgecolor="#bbbbbb")
        axes.text(x + 21, y, "no face", fontsize=8, va="center")
        x += 80
    for text, side in lines:
        axes.plot([x, x + 18], [y, y], color=SIDE_COLOURS[side], linewidth=1.6)
        axes.text(x + 23, y, text, fontsize=8, va="center")
        x += 38 + 6.2 * len(text)
    bars = "Bars are spotted intervals, with the numbers of the faces above, which show each at its apex."
    if content.others:
        bars += " Bars of other spotters follow."
    if content.video.events:
        bars += (
            " The lowest are the annotated events. A filled bar is a hit (the two overlap by an IoU of .5 or more); an"
            " empty one is a false alarm, or among the events a miss."
        )
    text = (
        "How to read it. A curve is how far a region of the face is from where it rests (its median over the "
        f"{SURROUNDINGS:g} seconds around), in pixels of a face 236 pixels wide, without the motion of the head; what "
        f"is above {MOST_HEIGHT:g} is cut off. An expression is a hill in one region or in few; speech shakes the "
        "mouth for long, and a blink (grey) moves the lids shortly. A micro-expression lasts half a second at most. "
        f"{bars}"
    )
    axes.text(14, y - 16, textwrap.fill(text, 160), fontsize=8, va="top", linespacing=1.35, parse_math=False)
