"""What does a reader see who opens one file?

``index.html``: a report as one page that needs no network and no other file, for a browser on a desktop or a phone. Built
from what `report` has: words, rows of tables, figures as SVG. Headings of tables sort; figures stand in the page as images.
"""

import base64
import html
import re
from collections.abc import Iterable, Sequence

from superpositional.tables import Rows

STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --dim: #5c5c5c; --line: #d7d7d7; --wash: #f5f5f3; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 78rem; color: var(--ink); background: #fff;
  font: 16px/1.5 Georgia, "Times New Roman", serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.lead { font-size: 1.08rem; }
.dim, figcaption { color: var(--dim); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font: 13px/1.4 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 16rem; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid #0072b2; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
td.superior, td.inferior { font-weight: 700; }
td.none { color: var(--dim); font-style: italic; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; }
figure.page img { width: 100%; max-width: 60rem; min-width: 36rem; }
figure.column img { width: 100%; max-width: 34rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
li { margin: .35rem 0; }
nav a { margin-right: 1rem; font: 14px system-ui, sans-serif; }
code { background: var(--wash); padding: .1rem .3rem; }
"""
# Numbers sort as numbers, by the first in a cell; all else as text.
SCRIPT = """
for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = cell => {
    const text = cell.textContent.trim();
    const number = text.replace(/\\u2212/g, '-').replace(/,/g, '').match(/^[±>]?\\s*([+-]?[\\d.]+)/);
    return number ? [0, parseFloat(number[1])] : text === '–' ? [2, ''] : [1, text];
  };
  heads.forEach((head, column) => head.firstElementChild.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = [...body.rows].map(row => [key(row.cells[column]), row]);
    rows.sort(([[a, x]], [[b, y]]) => a - b || (down ? -1 : 1) * (a === 0 ? x - y : a === 1 ? x.localeCompare(y) : 0));
    body.append(...rows.map(([, row]) => row));
  }));
}
"""


def page(title: str, sections: Iterable[tuple[str, str]], head: str) -> str:
    """The whole file.

    Args:
        title: what the page is about, as plain text.
        sections: (heading, HTML) of each; those without HTML are left out.
        head: HTML under the title.
    """
    there = [(_id(name), name, content) for name, content in sections if content]
    links = "".join(f'<a href="#{place}">{html.escape(name)}</a>' for place, name, _ in there)
    body = "".join(
        f'<section id="{place}"><h2>{html.escape(name)}</h2>{content}</section>\n' for place, name, content in there
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is loaded, not even an icon.
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1>{head}<nav>{links}</nav></header>\n<main>\n{body}</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Plain text, with Markdown's ** and ` as marks."""
    return f"<p{_class(kind)}>{marked(text)}</p>"


def marked(text: str) -> str:
    """Escaped text, with Markdown's ``**bold**`` and `` `code` `` as marks."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def table(rows: Rows) -> str:
    """Rows, the first of them the headings, as a table that sorts; nothing without a row below the headings."""
    if len(rows) < 2:
        return ""
    heads = "".join(f'<th scope="col"><button type="button">{html.escape(cell)}</button></th>' for cell in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows[1:])
    return f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def figure(svg: str, says: str, *, wide: bool = False) -> str:
    """A figure with a caption, which is also what somebody hears who does not see it."""
    data = base64.b64encode(svg.encode()).decode()
    image = f'<img alt="{html.escape(says)}" src="data:image/svg+xml;base64,{data}">'
    caption = f"<figcaption>{marked(says)}</figcaption>"
    return f'<figure class="{"page" if wide else "column"}"><div class="wide">{image}</div>{caption}</figure>'


def bullets(sentences: Sequence[str], summary: str = "") -> str:
    """A list, folded away under ``summary`` if that is given."""
    if not sentences:
        return ""
    items = f"<ul>{''.join(f'<li>{marked(sentence)}</li>' for sentence in sentences)}</ul>"
    return f"<details><summary>{html.escape(summary)}</summary>{items}</details>" if summary else items


def _cell(text: str) -> str:
    """A verdict's cell stands out as one; a long text breaks into lines, a number does not."""
    kinds = ["long"] if len(text) > 40 else []
    kinds += [word for word in ("superior", "inferior") if text == word or text.startswith(f"{word},")]
    kinds += ["none"] if text == "no verdict" else []
    return f"<td{_class(' '.join(kinds))}>{html.escape(text)}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _id(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")
