"""What does a reader of the dashboard see who has no account, no network and one file?

``dashboard.html``: the panels of the spec, drawn by the page itself from numbers within it (``dashboard.js``), for a
desktop, a phone or paper. A legend that hides arms, single seeds beside means, log axes, a grouping by what was swept, and
values under the pointer or by arrow keys. Arms have the colours and dashes of the report's figures. Written by `report`.
"""

import html
import json
from pathlib import Path
from typing import Any

from superpositional.records import Sweep
from superpositional.report import dashboard_data, page
from superpositional.report.dashboard import Dashboard, Panel

SCRIPTS = ("dashboard_axes.js", "dashboard.js")
STYLE = """
body { max-width: 108rem; }
main { display: block; }
h3 { font: 600 14px/1.3 system-ui, sans-serif; margin: 0; }
h3 span { color: var(--dim); font-weight: 400; }
.controls { position: sticky; top: 0; z-index: 1; background: #fff; border-bottom: 1px solid var(--line); padding: .5rem 0;
  display: flex; flex-wrap: wrap; gap: .35rem 1rem; align-items: center; font: 13px/1.4 system-ui, sans-serif;
  max-height: 40vh; overflow-y: auto; }
#legend { display: flex; flex-wrap: wrap; gap: .3rem; align-items: center; }
#legend span { padding: 0 .4rem; color: var(--dim); }
.controls button, .log { font: inherit; background: none; border: 1px solid var(--line); border-radius: 4px;
  cursor: pointer; padding: .25rem .5rem; display: inline-flex; align-items: center; gap: .4rem; color: inherit;
  overflow-wrap: anywhere; }
.controls button small { color: var(--dim); }
.controls button[aria-pressed=false] { opacity: .45; text-decoration: line-through; }
button:focus-visible, select:focus-visible, input:focus-visible, svg:focus-visible { outline: 2px solid #0072b2; }
.log { font: 12px system-ui, sans-serif; padding: .1rem .4rem; color: var(--dim); flex: none; }
.log[aria-pressed=true] { background: var(--ink); color: #fff; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); gap: 1.1rem 1.5rem; }
.panel { min-width: 0; }
.top { display: flex; justify-content: space-between; gap: .5rem; align-items: start; min-height: 2.3rem; }
.plot { min-height: 6rem; touch-action: pan-y; }
.none .plot, .none .log { display: none; }
.plot svg { display: block; max-width: 100%; height: auto; }
.plot text { font: 12px system-ui, sans-serif; fill: var(--dim); }
.said { font: 12px/1.4 system-ui, sans-serif; color: var(--dim); margin: .1rem 0 0; min-height: 2.8em; max-width: none;
  font-variant-numeric: tabular-nums; }
.said.now { color: var(--ink); font-weight: 600; }
@media (max-width: 40rem) { .controls { position: static; max-height: none; } .said { min-height: 4.2em; } }
@media print { .controls label, .log { display: none; } .controls { position: static; max-height: none; }
  .panel { break-inside: avoid; }
  .grid { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
"""


def render(sweep: Sweep, board: Dashboard) -> str:
    """The whole file; the same records give the same text."""
    found = dashboard_data.data(sweep, board)
    places = {
        id(panel): place for place, panel in enumerate(p for p in board.panels if p.kind in ("line", "bar", "scatter"))
    }
    sections = [
        (section.name, _content([(panel, places.get(id(panel))) for panel in section.panels])) for section in board.sections
    ]
    link = page.link("index.html", "The report", "with its figures, tables, runs and environment.")
    head = page.paragraph(board.lead, "lead") if board.lead else ""
    head += page.paragraph(f"{board.question} {board.progress.capitalize()}.".strip(), "dim") + link
    about = [
        "Lines and points are means over an arm's finished runs, not smoothed, with Student's 95 % interval; it is drawn "
        "for 5 seeds and more, and told for 2 and more. A paired difference is arm − baseline of the same seed, over the "
        "pairs where both have a value, uncorrected. Runs that diverged, failed or were interrupted are in no mean; they "
        "stand among the single seeds with a cross at their end.",
        found.pop("thinned"),
        "; ".join(f"{key}: {value}" for key, value in board.provenance.items()),
    ]
    sections.append(("About the numbers", "".join(page.paragraph(text, "dim") for text in about if text)))
    return page.page(
        f"Dashboard: {board.sweep}",
        sections,
        head,
        style=STYLE,
        before_main=_controls(found),
        data=_embedded(found),
        script="\n".join([*(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in SCRIPTS), page.SCRIPT]),
    )


def _content(panels: list[tuple[Panel, int | None]]) -> str:
    drawn = "".join(_panel(panel, place) for panel, place in panels if place is not None)
    told = "".join(page.table(list(p.rows)) + page.paragraph(p.words, "dim") for p, place in panels if place is None)
    return (f'<div class="grid">{drawn}</div>' if drawn else "") + told


def _panel(panel: Panel, place: int) -> str:
    unit = f" <span>({html.escape(panel.unit)})</span>" if panel.unit else ""
    return (
        f'<div class="panel"><div class="top"><h3 title="{html.escape(panel.metric)}">{html.escape(panel.title)}{unit}</h3>'
        f'<button type="button" class="log" aria-label="log axis: {html.escape(panel.title)}">log</button></div>'
        f'<div class="plot" data-panel="{place}"></div><p class="said" aria-live="off"></p></div>'
    )


def _controls(found: dict[str, Any]) -> str:
    choices = [(-1, "arm"), *((place, group["name"]) for place, group in enumerate(found["groups"]))]
    options = "".join(f'<option value="{place}">{html.escape(name)}</option>' for place, name in choices)
    grouping = f'<label>colour by <select id="group">{options}</select></label>' if found["groups"] else ""
    return (
        "<noscript><p>The panels are drawn by a script within this page, which this browser does not run.</p></noscript>"
        '<div class="controls"><div id="legend" role="group" aria-label="arms: hide or show"></div>'
        f'{grouping}<label><input type="checkbox" id="seeds"> single seeds</label>'
        '<label title="arm − baseline, of the same seed"><input type="checkbox" id="paired"> paired difference to the '
        "baseline</label></div>"
    )


def _embedded(found: dict[str, Any]) -> str:
    """JSON that no name within it can end."""
    text = json.dumps(found, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
