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
from typing import Any

import gradio as gr

from megc.clips import VIDEO_SUFFIXES, read_clips
from megc.explanation.clip_answers import ClipAnswerer
from megc.explanation.clip_report import render_clip, render_report, render_styles, render_timeline
from megc.explanation.clip_sources import folder_name
from megc.explanation.settings import AskSettings, WebDemoSettings
from megc.explanation.video_explanation import ExplainedVideo, answers_record, likelihood_words
from megc.explanation.web_sessions import Sessions, Stopped
from megc.facs import ME_VQA_UNITS
from megc.files import write_json, write_text
from megc.model.checkpoint import INFO_NAME
from megc.problems import DataError, Problems
from megc.vqa.questions import Question, question_text

EMPTY = "<div class='ask'><p class='dim'>Drop a video of a face, or choose a clip, and press Explain.</p></div>"
FREE_NOTE = "free question: the model was trained on the challenge's questions alone"
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
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio recognises it by this default)
    ) -> Iterator[tuple[Any, ...]]:
        """Page of the video or clip, the report to download, an empty chat, and the events to choose from."""
        hidden = gr.update(visible=False)
        session = self.sessions.get(request.session_hash)
        if not upload and not clip:
            yield _error("There is no video yet: drop one, or choose a clip."), hidden, [], hidden
            return
        session.upload = Path(upload) if upload else session.upload
        yield "<div class='ask'><p class='dim'>Working …</p></div>", hidden, [], hidden
        try:
            pictures = replace(self.settings.pictures, magnify=magnify)
            ask_settings = AskSettings(
                video=upload or clip, clips=self.settings.clips, pictures=pictures, spotting=self.settings.spotting
            )
            with self._lock:
                explained = session.explain(
                    ask_settings, self.answerer(model, votes), lambda share, text: progress(share, desc=text)
                )
        except Stopped:
            yield _error("Stopped."), hidden, [], hidden
            return
        except (DataError, ValueError) as error:
            yield _error(_without_paths(error, upload)), hidden, [], hidden
            return
        report = session.folder / f"{folder_name(Path(explained.source.title).stem)}_report.html"
        write_text(report, render_report(explained))
        self._keep(explained)
        names = _event_names(explained)
        events = gr.update(choices=names, value=next(iter(names), None), visible=len(names) > 1)
        yield _section(explained, 0), gr.update(value=str(report), visible=True), [], events

    def show_event(self, name: str | None, request: gr.Request) -> str:
        """Page of one of several events."""
        explained = self.sessions.get(request.session_hash).explained
        return _section(explained, _event_index(explained, name)) if explained else EMPTY

    def chat(
        self, question: str, history: list[dict], event: str | None, request: gr.Request
    ) -> tuple[str, list[dict]]:
        """An emptied line to write in, and the chat with the question and its answer."""
        session = self.sessions.get(request.session_hash)
        if not (question or "").strip():
            return "", history
        if session.explained is None or not session.explained.pictures:
            answer = "There is no clip yet: explain one first."
        else:
            try:
                with self._lock:
                    given = session.ask(question, _event_index(session.explained, event))
                notes = [FREE_NOTE] if given.free else []
                words = [*notes, *likelihood_words(given)]
                answer = f"{given.answer or '(no answer)'}\n({'; '.join(words)})" if words else given.answer
            except (DataError, ValueError) as error:
                answer = _without_paths(error, None)
        # the chat renders tags: escaped, they are shown as they were written
        lines = {"user": html.escape(question), "assistant": html.escape(answer)}
        return "", [*history, *({"role": role, "content": text} for role, text in lines.items())]

    def shut(self) -> None:
        """Stop all work and delete what users have; nothing is answered any more."""
        self.sessions.end_all()
        self._lock.acquire()  # for good: when it is had, the last work has ended

    def _keep(self, explained: ExplainedVideo) -> None:
        """Store report and answers where the settings say so."""
        if self.settings.keep:
            folder = self.settings.keep / folder_name(Path(explained.source.title).stem)
            write_text(folder / "report.html", render_report(explained))
            write_json(folder / "answers.json", answers_record(explained))


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


def build_page(demo: WebDemo) -> gr.Blocks:
    """The page's components and what they do."""
    settings = demo.settings
    with gr.Blocks(title="A micro-expression explained", analytics_enabled=False, delete_cache=(600, _IDLE)) as page:
        gr.Markdown("# A micro-expression explained\nWhere a face moved, what a model answers, and how sure it is.")
        with gr.Row():
            with gr.Column(scale=1, min_width=290):
                upload = gr.File(
                    label=f"Your video, up to {settings.upload} MB",
                    file_types=list(VIDEO_SUFFIXES),
                    height=150,
                    elem_id="upload",
                )
                clip = gr.Dropdown(demo.clips, value=None, label="or a clip of the demo set", elem_id="clip")
                start = gr.Button("Explain", variant="primary", elem_id="explain")
                stop = gr.Button("Stop", elem_id="stop")
                with gr.Accordion("Options", open=False):
                    model = gr.Dropdown(demo.models, value=demo.models[0], label="Model", elem_id="model")
                    votes = gr.Slider(1, 15, value=settings.answers.decoding.votes, step=2, label="Votes on an answer")
                    magnify = gr.Slider(1, 20, value=settings.pictures.magnify, step=1, label="Magnification")
                report = gr.DownloadButton("Export the report", visible=False, elem_id="report")
            with gr.Column(scale=3, min_width=300):
                event = gr.Radio([], label="Event", visible=False, elem_id="event")
                result = gr.HTML(EMPTY, elem_id="result")
                chat = gr.Chatbot(
                    label="Questions on this clip", height=260, render_markdown=False, buttons=[], elem_id="chat"
                )
                with gr.Row():
                    challenge = gr.Dropdown(
                        challenge_questions(),
                        value=None,
                        label="A question of the challenge",
                        elem_id="challenge",
                        min_width=260,
                    )
                    question = gr.Textbox(
                        label="or any other question", max_length=500, elem_id="question", min_width=260
                    )
        outputs = [result, report, chat, event]
        one_by_one = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        start.click(demo.prepare, queue=False, api_visibility="private").then(
            demo.explain, [upload, clip, model, votes, magnify], outputs, **one_by_one
        )
        upload.upload(lambda: None, outputs=clip, queue=False, api_visibility="private")
        clip.input(lambda: None, outputs=upload, queue=False, api_visibility="private")
        stop.click(demo.stop, queue=False, api_visibility="private")
        event.input(demo.show_event, event, result, queue=False, api_visibility="private")
        question.submit(demo.chat, [question, chat, event], [question, chat], **one_by_one)
        challenge.input(demo.chat, [challenge, chat, event], [question, chat], **one_by_one)
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
            allowed_paths=[str(root / "sessions")],
            **options,
        )
    except OSError as error:
        fix = "choose another --port, or 0 for one that is free"
        raise DataError(f"--port {settings.port}", None, f"cannot be listened on ({error})", fix) from error
    return address
