"""One video from file to explained answers: `answers.json`, `events.csv` and `report.html` in a folder of its own."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from megc.commits import software
from megc.csv_tables import write_table
from megc.explanation.animations import ClipPictures, draw_clip
from megc.explanation.clip_answers import ClipAnswer, ClipAnswerer, answer_clip, reason_over_answers
from megc.explanation.clip_sources import ClipSource, folder_name, read_source, source_title
from megc.explanation.event_clips import answer_about_video, is_about_video, spot_events, video_questions
from megc.explanation.settings import AskSettings, ModelSettings
from megc.files import lock_folder, write_json, write_text
from megc.motion.flow_files import compute_clips
from megc.motion.keyframes import extract_clips
from megc.motion.settings import KeyframeSettings
from megc.problems import DataError, Problems

NOTHING_SPOTTED = "no expression was spotted"
Step = Callable[[float, str], None]  # share of the work that is done, and what comes next

EVENT_COLUMNS = (
    *("dataset", "video", "onset", "offset", "type", "score", "emotion"),  # as spotted intervals have them
    *("apex", "start", "end", "coarse", "action_units"),
)


@dataclass(frozen=True)
class ExplainedVideo:
    """A video's clips with their pictures and answers, and what answered; answers about a long video as a whole have
    its own id. `reason`: the options of reasoning that were applied."""

    source: ClipSource
    pictures: tuple[ClipPictures, ...]
    answers: tuple[ClipAnswer, ...]
    model: str
    settings: ModelSettings
    reason: tuple[str, ...] = ()

    @property
    def video_answers(self) -> list[ClipAnswer]:
        """Answers about the whole of a long video."""
        return self.answers_of(self.source.whole.id) if self.source.is_long else []

    def reasoned(self, options: Sequence[str]) -> "ExplainedVideo":
        """The same with other options of reasoning. Answers about the whole video stay."""
        return replace(self, answers=tuple(reason_over_answers(self.answers, options)), reason=tuple(options))

    def with_answer(self, answer: ClipAnswer) -> "ExplainedVideo":
        """The same with one more answer."""
        return replace(self, answers=(*self.answers, answer)).reasoned(self.reason)

    def answers_of(self, clip_id: str) -> list[ClipAnswer]:
        """Answers about a clip, in the order of the questions."""
        return [answer for answer in self.answers if answer_clip(answer) == clip_id]


def explain_video(
    settings: AskSettings, answerer: ClipAnswerer, folder: Path, problems: Problems, step: Step | None = None
) -> ExplainedVideo:
    """Cut, measure, draw and answer the settings' video in `folder`; warnings go to `problems`.

    In a long video expressions are spotted first; it may hold none. Raises DataError for a video that cannot be read,
    one without a face, and a model that cannot be loaded.
    """
    step = step or (lambda share, text: None)
    step(0.0, "reading the video")
    source = read_source(settings, folder, problems)
    if source.is_long:
        step(0.05, "spotting expressions")
        source = spot_events(source, folder, settings.spotting, problems)
    step(0.4 if source.is_long else 0.15, "cutting the face")
    source = measure_clips(source, answerer, folder, settings.no_face, problems)
    step(0.5 if source.is_long else 0.35, "drawing the motion")
    pictures = tuple(draw_clip(clip, source.clips_file, folder, settings.pictures) for clip in source.clips)
    step(0.7, "answering")
    about_video = [text for text in settings.question if source.is_long and is_about_video(text)]
    others = [text for text in settings.question if text not in about_video]
    answers = answerer.ask(source.clips, folder, others, settings.pictures.control)
    answers = reason_over_answers(answers, settings.reason)
    if source.is_long:
        questions = dict.fromkeys((*video_questions(0), *about_video))
        answers += [answer_about_video(source, answers, text, number) for number, text in enumerate(questions, 1)]
    return ExplainedVideo(source, pictures, tuple(answers), answerer.software, answerer.settings, settings.reason)


def measure_clips(
    source: ClipSource, answerer: ClipAnswerer, folder: Path, no_face: str, problems: Problems
) -> ClipSource:
    """Key frames and flow pictures of the clips, made as those that the checkpoint was trained on.

    Events of a long video that none can be made of are left out, with a note. Raises DataError for any other clip.
    """
    values = asdict(answerer.keyframes) | {"no_face": no_face}
    faults = Problems()
    if source.clips:
        extract_clips(list(source.clips), source.clips_file, folder / "frames", KeyframeSettings(**values), faults)
        if any((folder / "frames").rglob("align.json")):
            compute_clips(folder / "frames", folder / "flow", answerer.flow, faults)
    for warning in faults.warnings:
        problems.warn(warning)
    if faults and not source.is_long:
        problem = next(iter(faults))
        links, file = folder / "sources", Path(problem.file)
        if not file.is_relative_to(links):
            raise DataError(problem.file, problem.row, problem.what, problem.fix)
        # the user knows the video, not our link to it; of a folder of frames the frame stays named
        inside = file.relative_to(links).parts[1:]
        raise DataError(Path(source.title, *inside), None, problem.what, problem.fix)
    failed = {problem.row for problem in faults}
    notes = [f"frames {clip.onset} to {clip.offset} are left out" for clip in source.clips if clip.id in failed]
    notes = [f"{note}: {problem.what}" for note, problem in zip(notes, faults, strict=False)]
    clips = tuple(clip for clip in source.clips if clip.id not in failed)
    return replace(source, clips=clips, notes=(*source.notes, *notes))


def ask_video(settings: AskSettings, problems: Problems) -> str:
    """Explain the settings' video in a folder below `settings.out`; returns the answers in words."""
    from megc.explanation.clip_report import write_report  # the page's engine, after the errors of the settings

    answerer = ClipAnswerer(settings.answers)
    folder = settings.out / folder_name(settings.name or _stem(settings))
    with lock_folder(folder, "ask"):
        _clear_other_video(folder, settings)
        explained = explain_video(settings, answerer, folder, problems)
        write_json(folder / "answers.json", answers_record(explained))
        write_table(folder / "events.csv", list(event_rows(explained)), EVENT_COLUMNS)
        write_report(folder / "report.html", explained)
    return "\n".join([*summary_lines(explained), "", f"written: {folder / 'report.html'}, answers.json, events.csv"])


def _clear_other_video(folder: Path, settings: AskSettings) -> None:
    """Delete the pictures of an earlier call, and what was measured on another video of that name.

    Measuring a long video takes as long as the video: a call that was stopped goes on, and another model may be asked.
    """
    video = Path(settings.video)
    stamp = ""
    if settings.video and video.exists():
        about = video.stat()
        stamp = f"{video.resolve()} {about.st_size} {about.st_mtime_ns}\n"
    file = folder / "source.txt"
    same = file.is_file() and file.read_text() == stamp
    for name in ("frames", "flow") if same else ("frames", "flow", "inputs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_text(file, stamp)


def _stem(settings: AskSettings) -> str:
    """Name of the folder: the title, without the suffix of a file."""
    title = source_title(settings)
    return Path(title).stem if Path(settings.video).is_file() else title


def answers_record(explained: ExplainedVideo) -> dict:
    """`answers.json`: of each clip its moments and its answers, rows as test/generate_answers.py writes them with the
    kind of question, the likelihoods, those without the flow picture, what reasoning made of it, and whether the
    question is free; of a long video also `answers` about its whole."""
    return {
        "video": explained.source.title,
        "model": explained.model,
        "spotter": explained.source.spotter,
        "settings": {"decoding": asdict(explained.settings.decoding), "reason": explained.reason, **software()},
        "answers": [_answer_record(answer) for answer in explained.video_answers],
        "clips": [
            {
                "clip": drawn.clip.id,
                **drawn.moments,
                "apex_spotted": drawn.apex_spotted,
                "fps": drawn.clip.fps,
                "answers": [_answer_record(answer) for answer in explained.answers_of(drawn.clip.id)],
                "warnings": list(drawn.warnings),
            }
            for drawn in explained.pictures
        ],
    }


def _answer_record(answer: ClipAnswer) -> dict:
    record = {**answer.prediction, "kind": answer.kind, "free": answer.free, "likelihoods": answer.likelihoods}
    record |= {"likelihoods_without_flow": answer.blanked, "probability": answer.probability}
    record |= {"reasoned": answer.reasoned} if answer.reasoned else {}
    return record | ({"annotated": answer.reference} if answer.reference else {})


def event_rows(explained: ExplainedVideo) -> Iterator[dict]:
    """Rows of `events.csv`, which test/score_spotting.py reads too."""
    for drawn in explained.pictures:
        by_kind = {answer.kind: answer.final for answer in explained.answers_of(drawn.clip.id)}
        onset, offset = drawn.moments["onset"], drawn.moments["offset"]
        rate = drawn.clip.fps
        event = explained.source.events.get(drawn.clip.id)
        yield {
            "dataset": drawn.clip.dataset,
            "video": explained.source.whole.name,
            "onset": onset,
            "offset": offset,
            "type": event.interval.type if event else "micro",
            "score": f"{event.interval.score:.6g}" if event else "",
            "emotion": by_kind.get("fine", ""),
            "apex": drawn.moments["apex"],
            "start": round(onset / rate, 3) if rate > 0 else "",
            "end": round(offset / rate, 3) if rate > 0 else "",
            "coarse": by_kind.get("coarse", ""),
            "action_units": by_kind.get("units", ""),
        }


def summary_lines(explained: ExplainedVideo) -> Iterator[str]:
    """The answers for a terminal: a line a question, with the likelihoods."""
    yield from (f"{explained.source.title}: {note}" for note in explained.source.notes)
    if not explained.pictures:
        yield f"{explained.source.title}: {NOTHING_SPOTTED}"
    yield from (f"  {answer.question}\n    {answer.answer}" for answer in explained.video_answers)
    for drawn in explained.pictures:
        moments = ", ".join(f"{name} {number}" for name, number in drawn.moments.items())
        yield f"{explained.source.title}: {moments}{' (apex spotted)' if drawn.apex_spotted else ''}"
        for answer in explained.answers_of(drawn.clip.id):
            yield f"  {answer.question}{' [free question]' if answer.free else ''}"
            yield f"    {answer.answer or '(nothing)'}{_in_brackets(likelihood_words(answer))}"


def likelihood_words(answer: ClipAnswer) -> list[str]:
    """The likelihoods of an answer in words, the likeliest first, and what blanking the flow picture does to them."""
    words = []
    if answer.likelihoods:
        ranked = sorted(answer.likelihoods.items(), key=lambda item: -item[1])
        words.append(", ".join(f"{text} {value:.0%}" for text, value in ranked[:3]))
    elif answer.probability is not None:
        words.append(f"probability of this text {answer.probability:.0%}")
    if answer.shift is not None:
        words.append(f"without the flow picture {answer.blanked[answer.answer]:.0%}")
    if answer.reasoned and answer.reasoned != answer.answer:
        words.append(f"by reasoning: {answer.reasoned}")
    if answer.reference:
        words.append(f"annotated: {answer.reference}")
    return words


def _in_brackets(words: Sequence[str]) -> str:
    return f"  ({'; '.join(words)})" if words else ""
