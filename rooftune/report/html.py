"""The report as one HTML file with its figures inside."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
body { color: #1b1b1b; background: #fff }
h1, h2, h3 { line-height: 1.25; margin-top: 2em } h1 { margin-top: 0 }
h2 { border-bottom: 1px solid #ddd; padding-bottom: .2em }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .88rem }
th, td { border: 1px solid #ddd; padding: .35rem .6rem; vertical-align: top }
th { background: #f4f4f4; text-align: left }
th:empty { display: none }
code, pre { font-family: ui-monospace, monospace; font-size: .88em }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto }
blockquote { margin: 1rem 0; padding: .4rem 1rem; border-left: 4px solid #D55E00; background: #fff6f0 }
img { max-width: 100%; height: auto }
"""


def render(markdown: str, folder: Path, title: str) -> str:
    """Markdown as a self-contained page; images are read from ``folder`` and embedded."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r'<img src="([^"]+)"', lambda m: f'<img src="{_embedded(folder / m.group(1), m.group(1))}"', body)
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"{meta}<title>{escape(title)}</title>"
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n'


def _embedded(path: Path, source: str) -> str:
    if not path.is_file():
        return source
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
