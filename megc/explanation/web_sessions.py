"""Users of the web page at the same time: each with a folder, a video and a wish to stop of their own."""

import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megc.explanation.clip_answers import ClipAnswer, ClipAnswerer
from megc.explanation.event_clips import answer_about_video, is_about_video
from megc.explanation.settings import AskSettings
from megc.explanation.video_explanation import ExplainedVideo, Step, explain_video
from megc.problems import Problems


class Stopped(Exception):
    """A user stopped the work on a video."""


@dataclass
class Session:
    """A user's folder, what was explained in it, and the uploaded file. `stopped`: the user wants no more answers."""

    folder: Path
    explained: ExplainedVideo | None = None
    answerer: ClipAnswerer | None = None
    upload: Path | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def explain(self, settings: AskSettings, answerer: ClipAnswerer, step: Step) -> ExplainedVideo:
        """Explain a video in a fresh folder. Raises Stopped where the user stopped it, and DataError as
        `explain_video`."""

        def step_or_stop(share: float, text: str) -> None:
            if self.stopped.is_set():
                raise Stopped
            step(share, text)

        self.explained = None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            explained = explain_video(settings, answerer, self.folder, Problems(), step_or_stop)
            step_or_stop(1.0, "done")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)  # the tab may be closed: then nobody else deletes it
            raise
        self.explained, self.answerer = explained, answerer
        return explained

    @property
    def is_long(self) -> bool:
        """Whether a long video was explained."""
        return self.explained is not None and self.explained.source.is_long

    def ask(self, question: str, event: int) -> ClipAnswer:
        """An answer about an event of the video that was explained, or about the whole of a long one; it is kept.

        Raises DataError and ValueError.
        """
        source, number = self.explained.source, len(self.explained.answers) + 1
        if self.is_long and is_about_video(question):
            answer = answer_about_video(source, self.explained.answers, question, number)
        else:
            answer = self.answerer.ask_once(source.clips[event], self.folder, question, number)
        self.explained = self.explained.with_answer(answer)
        return self.explained.answers[-1]

    def reason(self, options: Sequence[str]) -> None:
        """Reason over the answers with other options."""
        self.explained = self.explained.reasoned(options)

    def clear(self) -> None:
        """Delete everything of the user's video."""
        self.stopped.set()
        self.explained = None
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.upload:
            shutil.rmtree(self.upload.parent, ignore_errors=True)  # a folder that gradio made for this file
            self.upload = None


class Sessions:
    """Sessions by the name that the browser's tab has, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Session:
        """The session of a tab; a new one with its first request."""
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = Session(self.root / secrets.token_hex(8))
            return self._sessions[name]

    def end(self, name: str) -> None:
        """Forget a tab that was closed, and delete what it has."""
        with self._lock:
            session = self._sessions.pop(name, None)
        if session:
            session.clear()

    def end_all(self) -> None:
        """`end` of every tab."""
        for name in list(self._sessions):
            self.end(name)
