"""`report.html`: a video's motion and answers on one page that needs no network; every text is escaped."""

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment
from jinja2.environment import TemplateModule
from markupsafe import Markup

from megc.commits import software
from megc.explanation.animations import ClipPictures
from megc.explanation.clip_answers import ClipAnswer
from megc.explanation.video_explanation import NOTHING_SPOTTED, ExplainedVideo
from megc.files import write_text
from megc.scoring.report import html_environment

LEAST_SHIFT = 0.1  # of likelihood, below which an answer does not rest on the flow picture
FLOW_KEPT = "Blanking the flow picture changes no likelihood by more than 10 %: these answers do not rest on it."


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = html_environment(Path(__file__).parent)
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    environment.filters["times"] = lambda factor: f"{factor:.2g}"
    environment.filters["slower"] = lambda speed: f"{1 / speed:.1f}".removesuffix(".0")
    return environment


def _sections() -> TemplateModule:
    return _environment().get_template("clip_section.html").module


def render_styles() -> Markup:
    """The rules of the page, for `<style>`."""
    return _sections().styles()


def slider_script() -> Markup:
    """The script of the sliders, for `<script>`: it holds no text of a user's."""
    return Markup(Path(__file__).with_name("frame_slider.js").read_text())


def render_clip(explained: ExplainedVideo, drawn: ClipPictures) -> Markup:
    """The section of one clip, which the report and the web page share."""
    answers, event = explained.answers_of(drawn.clip.id), explained.source.events.get(drawn.clip.id)
    return _sections().clip(drawn, answers, rests_on(answers), event)


def render_timeline(explained: ExplainedVideo, link: bool) -> Markup:
    """The timeline of a long video; with `link` a list of its events too, to go to them. Nothing for a clip."""
    source, answers = explained.source, explained.video_answers
    if not source.is_long:
        return Markup()
    return _sections().timeline(source, explained.pictures, answers, NOTHING_SPOTTED, link)


def write_report(path: Path | str, explained: ExplainedVideo) -> None:
    """Write the page of all clips, atomically."""
    write_text(path, render_report(explained))


def render_report(explained: ExplainedVideo) -> str:
    """The whole page."""
    sections = [render_clip(explained, drawn) for drawn in explained.pictures]
    settings = {"model": explained.model, "decoding": asdict(explained.settings.decoding)}
    settings |= {"reason": explained.reason, **software()}
    template = _environment().get_template("clip_report.html")
    return template.render(
        styles=render_styles(),
        script=slider_script(),
        title=explained.source.title,
        model=explained.model,
        timeline=render_timeline(explained, link=True),
        sections=sections,
        settings=json.dumps(settings, indent=2, ensure_ascii=False),
    )


def rests_on(answers: list[ClipAnswer]) -> list[str]:
    """What blanking the flow picture does to the answers, a sentence each; none where it was not blanked."""
    measured = [answer for answer in answers if answer.shift is not None]
    sentences = []
    for answer in measured:
        other = max(answer.blanked, key=answer.blanked.get)
        if answer.shift < LEAST_SHIFT:
            continue
        before, after = answer.likelihoods[answer.answer], answer.blanked[answer.answer]
        changed = f", and the answer would be {other}" if other != answer.answer else ""
        sentences.append(f"{answer.question} {answer.answer}: {before:.0%} with it, {after:.0%} without{changed}.")
    return sentences or ([FLOW_KEPT] if measured else [])
