"""What does a reader see who opens one file?

``index.html``: a report as one page that needs no network and no other file, for a browser on a desktop or a phone. Built
from what `report` has: words, rows of tables, figures as SVG. Headings of tables sort; figures stand in the page as images.
"""

import base64
import html
import re
from collections.abc import Iterable, Sequence

from superpositional.format import Rows

STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --dim: #595959; --line: #d7d7d7; --wash: #f5f5f3; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 80rem; color: var(--ink); background: #fff;
  font: 16px/1.5 Georgia, "Times New Roman", serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; }
p, summary, li { max-width: 46rem; overflow-wrap: anywhere; }
.lead p:first-child { font-size: 1.12rem; }
.dim, figcaption { color: var(--dim); font-size: .9rem; }
nav a { display: inline-block; margin-right: 1rem; padding: .25rem 0; font: 14px system-ui, sans-serif; }
code { background: var(--wash); padding: .1rem .3rem; overflow-wrap: anywhere; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
li { margin: .35rem 0; }
/* What is wider than the page scrolls by itself; a shadow at its edge says that there is more. */
.wide { position: relative; overflow-x: auto; background:
  linear-gradient(to right, #fff 2rem, #fff0) 0 0 / 4rem 100% local no-repeat,
  linear-gradient(to left, #fff 2rem, #fff0) 100% 0 / 4rem 100% local no-repeat,
  linear-gradient(to right, #0003, #0000) 0 0 / .8rem 100% scroll no-repeat,
  linear-gradient(to left, #0003, #0000) 100% 0 / .8rem 100% scroll no-repeat; }
.tall { max-height: 36rem; overflow-y: auto; }
.tall th { position: sticky; top: 0; background: #fff; box-shadow: inset 0 -1px var(--line); }
table { border-collapse: collapse; font: 13px/1.4 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; }
td.long, td.name { white-space: normal; }
td.long { min-width: 16rem; overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; font-weight: 600; text-decoration: underline dotted; text-underline-offset: 3px; }
th button:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
td.superior, td.inferior { font-weight: 700; }
td.none { color: var(--dim); font-style: italic; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; }
figure.page img { width: 100%; max-width: 70rem; min-width: 36rem; }
figure.column img { width: 100%; max-width: 34rem; }
@media (min-width: 64rem) {
  /* Two columns: of a figure and its caption, or of two sections that hold no more than a figure. */
  main, figure.column { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); column-gap: 2rem; }
  section { grid-column: 1 / -1; }
  section.half { grid-column: auto; }
  figure.column { align-items: end; }
  .half figure.column { display: block; }
  .column figcaption { max-width: 30rem; padding-bottom: .4rem; }
}
@media print {
  :root, body { padding: 0; font-size: 11px; }
  .wide, .tall { overflow: visible; max-height: none; background: none; }
  figure, tr { break-inside: avoid; }
  table { font-size: 8px; }
  td { white-space: normal; }
  figure.page img { min-width: 0; }
  nav { display: none; }
}
"""
# Numbers sort as numbers, by the first in a cell; all else as text, in which numbers count as such. Missing is last.
SCRIPT = """
const alike = new Intl.Collator('en');
const compared = (x, y) => {
  const [left, right] = [x, y].map(text => text.split(/(\\d+(?:\\.\\d+)?)/));
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = i % 2 ? left[i] - right[i] : alike.compare(left[i], right[i]);
    if (order) return order;
  }
  return left.length - right.length;
};
const key = cell => {
  const text = cell.textContent.trim();
  const plain = text.replace(/\\u2212/g, '-').replace(/(\\d),(?=\\d{3})/g, '$1');
  const number = plain.match(/^[±>]?\\s*([+-]?\\d[\\d.]*(?:e[+-]?\\d+)?)(?![\\w.])/);
  return number ? [0, parseFloat(number[1])] : text === '' || text.startsWith('–') ? [2, ''] : [1, text];
};
for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = [...body.rows].map(row => [key(row.cells[column]), row]);
    rows.sort(([[a, x]], [[b, y]]) => a - b || (down ? -1 : 1) * (a === 0 ? x - y : a === 1 ? compared(x, y) : 0));
    body.append(...rows.map(([, row]) => row));
  }));
}
"""
# How a lead names the verdicts that it lists.
VERDICTS = re.compile(r"\b(superior|inferior|equivalent|inconclusive|no verdict):")
# A table of more rows than this scrolls within the page instead of filling it.
TALL = 40


def page(
    title: str,
    sections: Iterable[tuple[str, str]],
    head: str,
    *,
    style: str = "",
    before_main: str = "",
    data: str = "",
    script: str = SCRIPT,
) -> str:
    """The whole file.

    Args:
        title: what the page is about, as plain text.
        sections: (heading, HTML) of each; those without HTML are left out.
        head: HTML under the title.
        style: more of it, after the page's own.
        before_main: HTML between the head and the sections.
        data: JSON for the script, as it is to stand in HTML.
    """
    there = [(_id(name), name, content) for name, content in sections if content]
    links = "".join(f'<a href="#{place}">{html.escape(name)}</a>' for place, name, _ in there)
    body = "".join(
        f'<section id="{place}"{_class(_width(content))}><h2>{html.escape(name)}</h2>{content}</section>\n'
        for place, name, content in there
    )
    embedded = f'<script type="application/json" id="data">{data}</script>\n' if data else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is loaded, not even an icon.
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1>{head}<nav>{links}</nav></header>\n{before_main}<main>\n{body}</main>\n"
        f"{embedded}<script>{script}</script>\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Plain text, with Markdown's ** and ` as marks; a lead has a line for each sentence, and verdicts in bold."""
    if kind != "lead":
        return f"<p{_class(kind)}>{marked(text)}</p>"
    sentences = re.split(r"(?<=\.) (?=[A-Zλ])", VERDICTS.sub(r"**\1**:", text))
    return f'<div class="lead">{"".join(map(paragraph, sentences))}</div>'


def link(file: str, name: str, rest: str) -> str:
    """A line that begins with the way to another file of the same folder."""
    return f'<p class="dim"><a href="{html.escape(file)}">{html.escape(name)}</a> {html.escape(rest)}</p>'


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
    kind = "wide tall" if len(rows) > TALL else "wide"
    return f'<div class="{kind}"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


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
    """A verdict's cell stands out as one; a long text breaks into lines, a name between its parts, a number does not."""
    kinds = ["long"] if len(text) > 40 else ["name"] if len(text) > 12 and " " not in text else []
    kinds += [word for word in ("superior", "inferior") if text == word or text.startswith(f"{word},")]
    kinds += ["none"] if text == "no verdict" else []
    shown = html.escape(text)
    if kinds == ["name"]:
        shown = re.sub(r"([/_:,])", r"\1<wbr>", shown)
    return f"<td{_class(' '.join(kinds))}>{shown}</td>"


def _width(content: str) -> str:
    """A section of one figure of a column's width and nothing else takes half a desktop's page."""
    alone = content.startswith('<figure class="column">') and content.count("<figure ") == 1
    return "half" if alone and content.endswith("</figure>") else ""


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _id(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")
