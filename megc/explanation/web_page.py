"""The web page: drop a video or choose a clip, see where it moved, read the answers, ask more, export the report."""

import html
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from megc.clips import VIDEO_SUFFIXES, read_clips
from megc.explanation.clip_answers import ClipAnswerer
from megc.explanation.clip_report import render_clip, render_report, render_styles, render_timeline, slider_script
from megc.explanation.clip_sources import folder_name
from megc.explanation.event_clips import is_about_video, video_questions
from megc.explanation.settings import AskSettings, WebDemoSettings
from megc.explanation.video_explanation import ExplainedVideo, answers_record, likelihood_words
from megc.explanation.web_sessions import Session, Sessions, Stopped
from megc.facs import ME_VQA_UNITS
from megc.files import write_json, write_text
from megc.model.checkpoint import INFO_NAME
from megc.problems import DataError, Problems
from megc.vqa.questions import LONG_KINDS, Question, question_text

EMPTY = "<div class='ask'><p class='dim'>Drop a video of a face, or choose a clip, and press Explain.</p></div>"
FREE_NOTE = "free question: the model was trained on the challenge's questions alone"
VIDEO_NOTE = "from the spotted intervals and the answers about them"
REASON_LABELS = {
    "joint": "coarse and fine class chosen together",
    "compose": "sentence composed of the other answers",
    "shown": "yes/no and list of action units agree",
    "number": "as many action units as asked for",
    "snap": "nearest of the allowed answers",
}
_STYLES = """
.ask { background: #fff; padding: .6rem .9rem; border-radius: 8px; overflow-wrap: anywhere; }
.ask .error { color: #9b1c1c; font-weight: 600; }
footer { display: none !important; }
"""
_WAITING = 20  # requests in the queue, above which a new one is refused
_IDLE = 3600  # seconds after which files of a tab that is gone are deleted


def challenge_questions() -> list[str]:
    """The challenge's questions on a clip, those about one action unit for each of its names."""
    general = [Question("coarse"), Question("fine"), Question("units"), Question("units", many=True)]
    general += [Question("long"), Question("long", many=True)]
    of_units = [Question(kind, unit) for unit in ME_VQA_UNITS for kind in ("shown", "side")]
    return [question_text(question) for question in (*general, *of_units)]


class WebDemo:
    """What the page does: one model at a time, one session a tab, files below `root`."""

    def __init__(self, settings: WebDemoSettings, root: Path) -> None:
        self.settings = settings
        self.sessions = Sessions(root / "sessions")
        self._lock = threading.Lock()  # the answering of two users must not mix in the model
        self._answerers = {settings.answers.model: ClipAnswerer(settings.answers)}
        if not settings.answers.endpoint.url:
            self._answerers[settings.answers.model].load()
        self.clips = [clip.id for clip in read_clips(settings.clips)] if settings.clips.is_file() else []

    @property
    def models(self) -> list[str]:
        """The model that was given, and trained checkpoints beside it."""
        given = Path(self.settings.answers.model)
        beside = sorted(str(path.parent) for path in given.parent.glob(f"*/{INFO_NAME}")) if given.is_dir() else []
        trained = [name for name in beside if not name.endswith("-base")]
        return list(dict.fromkeys([str(given), *trained]))

    def answerer(self, model: str, votes: int) -> ClipAnswerer:
        """The answerer of a model, loaded once, with so many votes."""
        if model not in self._answerers:
            self._answerers[model] = ClipAnswerer(replace(self.settings.answers, model=model))
        return self._answerers[model].with_votes(int(votes))

    # ---- what the page's buttons do

    def prepare(self, request: gr.Request) -> None:
        """A new wish: an earlier one to stop does not count."""
        self.sessions.get(request.session_hash).stopped.clear()

    def stop(self, request: gr.Request) -> None:
        """The user wants no answer any more: the work ends with its present step."""
        self.sessions.get(request.session_hash).stopped.set()

    def end(self, request: gr.Request) -> None:
        """A tab was closed: nothing of its video stays."""
        self.sessions.end(request.session_hash)

    def explain(
        self,
        upload: str | None,
        clip: str | None,
        model: str,
        votes: int,
        magnify: float,
        reason: list[str],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio recognises it by this default)
    ) -> Iterator[tuple[Any, ...]]:
        """Page of the video or clip, the report to download, an empty chat, events and questions to choose from."""
        hidden, questions = gr.update(visible=False), gr.update(choices=challenge_questions())
        session = self.sessions.get(request.session_hash)
        if not upload and not clip:
            yield _error("There is no video yet: drop one, or choose a clip."), hidden, [], hidden, questions
            return
        session.upload = Path(upload) if upload else session.upload
        yield "<div class='ask'><p class='dim'>Working …</p></div>", hidden, [], hidden, questions
        try:
            pictures = replace(self.settings.pictures, magnify=magnify)
            ask_settings = AskSettings(
                video=upload or clip,
                clips=self.settings.clips,
                reason=tuple(reason),
                pictures=pictures,
                spotting=self.settings.spotting,
            )
            with self._lock:
                explained = session.explain(
                    ask_settings, self.answerer(model, votes), lambda share, text: progress(share, desc=text)
                )
        except Stopped:
            yield _error("Stopped."), hidden, [], hidden, questions
            return
        except (DataError, ValueError) as error:
            yield _error(_without_paths(error, upload)), hidden, [], hidden, questions
            return
        names = _event_names(explained)
        events = gr.update(choices=names, value=next(iter(names), None), visible=len(names) > 1)
        if explained.source.is_long:
            about_video = video_questions(len(explained.source.intervals))
            questions = gr.update(choices=[*about_video, *challenge_questions()])
        yield _section(explained, 0), self._write_report(session), [], events, questions

    def show_event(self, name: str | None, request: gr.Request) -> str:
        """Page of one of several events."""
        explained = self.sessions.get(request.session_hash).explained
        return _section(explained, _event_index(explained, name)) if explained else EMPTY

    def reason(self, options: list[str], name: str | None, request: gr.Request) -> tuple[Any, Any]:
        """The page with its answers reasoned over, and the report."""
        session = self.sessions.get(request.session_hash)
        if session.explained is None:
            return gr.skip(), gr.skip()
        session.reason(options)
        return self.show_event(name, request), self._write_report(session)

    def chat(
        self, question: str, history: list[dict], event: str | None, request: gr.Request
    ) -> tuple[None, list[dict], Any]:
        """An emptied line to write in, the chat with the question and its answer, and the report with both."""
        session, report = self.sessions.get(request.session_hash), gr.skip()
        if not (question or "").strip():
            return None, history, report
        about = event if session.explained and len(session.explained.pictures) > 1 else ""
        if session.explained is None:
            answer = "There is no clip yet: explain one first."
        elif not session.explained.pictures and not is_about_video(question):
            answer = "There is no event to ask about: ask about the whole video, such as how many there are."
        else:
            try:
                with self._lock:
                    given = session.ask(question, _event_index(session.explained, event))
                report = self._write_report(session)
                about = about if given.kind not in LONG_KINDS else "The whole video"
                notes = [FREE_NOTE] if given.free else [VIDEO_NOTE] if given.kind in LONG_KINDS else []
                words = [*notes, *likelihood_words(given)]
                answer = f"{given.answer or '(no answer)'}\n({'; '.join(words)})" if words else given.answer
            except (DataError, ValueError) as error:
                answer = _without_paths(error, None)
        turn = f"{about}\n{question}" if about else question
        # the chat renders tags: escaped, they are shown as they were written
        lines = {"user": html.escape(turn), "assistant": html.escape(answer)}
        return None, [*history, *({"role": role, "content": text} for role, text in lines.items())], report

    def _write_report(self, session: Session) -> dict[str, Any]:
        """The button that exports the session's report, which is written with all questions so far."""
        explained = session.explained
        name = folder_name(Path(explained.source.title).stem)
        page = render_report(explained)
        write_text(session.folder / f"{name}_report.html", page)
        if self.settings.keep:
            write_text(self.settings.keep / name / "report.html", page)
            write_json(self.settings.keep / name / "answers.json", answers_record(explained))
        return gr.update(value=str(session.folder / f"{name}_report.html"), visible=True)

    def shut(self) -> None:
        """Stop all work and delete what users have; nothing is answered any more."""
        self.sessions.end_all()
        self._lock.acquire()  # for good: when it is had, the last work has ended


def _event_names(explained: ExplainedVideo) -> list[str]:
    """Events to choose from: number, time of the apex, type."""
    start, events = explained.source.whole.onset, explained.source.events
    return [
        f"Event {events[drawn.clip.id].number}: {(drawn.moments['apex'] - start) / drawn.clip.fps:.1f} s, "
        f"{events[drawn.clip.id].interval.type}"
        for drawn in explained.pictures
        if drawn.clip.id in events
    ]


def _event_index(explained: ExplainedVideo, name: str | None) -> int:
    """Place of the event of that name; the first where there is none, as of an earlier video."""
    names = _event_names(explained)
    return names.index(name) if name in names else 0


def _section(explained: ExplainedVideo, index: int) -> str:
    title = f"<div class='ask'><h2>{html.escape(explained.source.title)}</h2></div>"
    parts = [title, render_timeline(explained, link=False)]
    if explained.pictures:
        parts.append(render_clip(explained, explained.pictures[index]))
    return "".join(map(str, parts))


def _error(text: str) -> str:
    return f"<div class='ask'><p class='error'>{html.escape(text)}</p></div>"


def _without_paths(error: Exception, upload: str | None) -> str:
    """What is wrong and what to do, without where the server keeps its files."""
    if not isinstance(error, DataError):
        return f"{error}."
    name = Path(upload).name if upload else ""
    problem = error.problem
    text = f"{problem.what}; {problem.fix}".replace(str(problem.file), name)
    return f"{name}: {text}." if name else f"{text}."


def _add_inputs(demo: WebDemo) -> SimpleNamespace:
    """The left column: video, clip, options and buttons, by name."""
    settings, row = demo.settings, SimpleNamespace()
    row.upload = gr.File(
        label=f"Your video, up to {settings.upload} MB",
        file_types=list(VIDEO_SUFFIXES),
        height=150,
        elem_id="upload",
    )
    row.clip = gr.Dropdown(demo.clips, value=None, label="or a clip of the demo set", elem_id="clip")
    row.start = gr.Button("Explain", variant="primary", elem_id="explain")
    row.stop = gr.Button("Stop", elem_id="stop")
    with gr.Accordion("Options", open=False, elem_id="options"):
        row.model = gr.Dropdown(demo.models, value=demo.models[0], label="Model", elem_id="model")
        row.votes = gr.Slider(1, 15, value=settings.answers.decoding.votes, step=2, label="Votes on an answer")
        row.magnify = gr.Slider(1, 20, value=settings.pictures.magnify, step=1, label="Magnification")
        reasons = [(text, name) for name, text in REASON_LABELS.items()]
        row.reason = gr.CheckboxGroup(reasons, label="Reasoning over a clip's answers", elem_id="reason")
    row.report = gr.DownloadButton("Export the report", visible=False, elem_id="report")
    return row


def _add_outputs() -> SimpleNamespace:
    """The right column: events, the explained clip, and the chat about it, by name."""
    row = SimpleNamespace()
    row.event = gr.Radio([], label="Event", visible=False, elem_id="event")
    row.result = gr.HTML(EMPTY, elem_id="result")
    row.chat = gr.Chatbot(
        label="Questions on this video",
        placeholder="Ask about the video, once it is explained.",
        height=260,
        render_markdown=False,
        buttons=[],
        elem_id="chat",
    )
    with gr.Row():
        row.challenge = gr.Dropdown(
            challenge_questions(), value=None, label="A question of the challenge", elem_id="challenge", min_width=260
        )
        row.question = gr.Textbox(label="or any other question", max_length=500, elem_id="question", min_width=260)
    return row


def build_page(demo: WebDemo) -> gr.Blocks:
    """The page's components and what they do."""
    with gr.Blocks(title="A micro-expression explained", analytics_enabled=False, delete_cache=(600, _IDLE)) as page:
        gr.Markdown("# A micro-expression explained\nWhere a face moved, what a model answers, and how sure it is.")
        with gr.Row():
            with gr.Column(scale=1, min_width=290):
                left = _add_inputs(demo)
            with gr.Column(scale=3, min_width=300):
                right = _add_outputs()
        private = {"api_visibility": "private"}
        at_once, one_by_one = {**private, "queue": False}, {**private, "concurrency_limit": 1}
        one_by_one["concurrency_id"] = "model"
        inputs = [left.upload, left.clip, left.model, left.votes, left.magnify, left.reason]
        outputs = [right.result, left.report, right.chat, right.event, right.challenge]
        left.start.click(demo.prepare, **at_once).then(demo.explain, inputs, outputs, **one_by_one)
        left.upload.upload(lambda: None, outputs=left.clip, **at_once)
        left.clip.input(lambda: None, outputs=left.upload, **at_once)
        left.stop.click(demo.stop, **at_once)
        # two clicks in a row: gradio would drop the second one while the first is at work
        newest = {"trigger_mode": "always_last"}
        right.event.input(demo.show_event, right.event, right.result, **at_once, **newest)
        options = [left.reason, right.event]
        left.reason.input(demo.reason, options, [right.result, left.report], **one_by_one, **newest)
        for line, asks in ((right.question, right.question.submit), (right.challenge, right.challenge.select)):
            asks(demo.chat, [line, right.chat, right.event], [line, right.chat, left.report], **one_by_one)
        page.unload(demo.end)
    return page.queue(max_size=_WAITING)


@contextmanager
def served_page(settings: WebDemoSettings) -> Iterator[str]:
    """The address of the page, served in threads of its own; all files of its users are deleted in the end.

    Raises DataError where the model cannot be loaded, and for a port that is taken.
    """
    root = Path(tempfile.mkdtemp(prefix="megc-web-"))
    usual = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(root / "uploads")
    demo = page = None
    try:
        demo = WebDemo(settings, root)
        page = build_page(demo)
        yield _launch(page, settings, root)
    finally:
        if page is not None:
            page.close(verbose=False)
            demo.shut()
        shutil.rmtree(root, ignore_errors=True)
        os.environ.pop("GRADIO_TEMP_DIR")
        if usual is not None:
            os.environ["GRADIO_TEMP_DIR"] = usual


def serve_page(settings: WebDemoSettings, _problems: Problems) -> str:
    """Serve the page until the program is stopped. Raises DataError as `served_page`."""
    with served_page(settings) as address:
        print(f"Open {address} in a browser. Ctrl-C stops the page and deletes what was uploaded.", flush=True)
        threading.Event().wait()
    return ""


def _launch(page: gr.Blocks, settings: WebDemoSettings, root: Path) -> str:
    """Serve the page; returns its address."""
    fonts = ("system-ui", "Segoe UI", "Roboto", "sans-serif")  # of the reader's system: none is fetched
    theme = gr.themes.Default(font=fonts, font_mono=("ui-monospace", "monospace"))
    options = {"footer_links": [], "run_history": False, "enable_monitoring": False, "share": False, "quiet": True}
    try:
        _, address, _ = page.launch(
            server_name=settings.host,
            server_port=settings.port or None,
            max_file_size=f"{settings.upload}mb",
            prevent_thread_lock=True,
            ssr_mode=False,
            theme=theme,
            css=f"{render_styles()}{_STYLES}",
            head=f"<script>{slider_script()}</script>",
            allowed_paths=[str(root / "sessions")],
            **options,
        )
    except OSError as error:
        fix = "choose another --port, or 0 for one that is free"
        raise DataError(f"--port {settings.port}", None, f"cannot be listened on ({error})", fix) from error
    return address
