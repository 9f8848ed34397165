"""The report's pages, by Jinja2: one file that opens from disk, with figures as images and Plotly's script beside it."""

import base64
import html
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Fill ``<template>.html.j2``; the same values give the same text."""
    return _environment().get_template(f"{template}.html.j2").render(**values)


def image(svg: str, says: str, wide: bool) -> dict[str, Any]:
    """Return a figure as an image with its words; within an image an SVG can load and run nothing."""
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return {"image": address, "says": says, "wide": wide}


def marked(text: str) -> Markup:
    """Escape a text; Markdown's ``**bold**`` and `` `code` `` become marks."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", text))


def breakable(text: str) -> Markup:
    """Escape a cell; a long name may break between its parts, a number may not."""
    name = len(text) > 12 and " " not in text
    return Markup(re.sub(r"([/_:,])", r"\1<wbr>", html.escape(text))) if name else marked(text)


def anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    made.filters |= {"marked": marked, "breakable": breakable, "anchor": anchor}
    made.globals["file"] = lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    return made
