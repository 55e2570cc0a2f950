"""A page in the browser: drop a video or choose a clip, see where it moved, read the answers, ask more.

    python test/web_demo.py                                          # then open http://127.0.0.1:7860
    python test/web_demo.py --model checkpoints/qwen2_5_vl_7b --endpoint http://127.0.0.1:8000/v1
    python test/web_demo.py --keep result/ask --upload 500           # keep the reports; larger videos

Nothing is fetched from elsewhere, and nothing of a video stays when its tab is closed or the program stopped.
"""

from megc.command import Work, run
from megc.explanation.settings import WebDemoSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.explanation.web_page import serve_page

    return serve_page


if __name__ == "__main__":
    run(__doc__, WebDemoSettings, main, stopped="Stopped. What was uploaded is deleted.")
