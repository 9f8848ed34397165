// A table sorts by a heading: numbers by the first in a cell, then text, then what is missing.
const words = new Intl.Collator('en', { numeric: true });
const key = cell => {
  const text = cell.textContent.trim().replace(/\u2212/g, '-').replace(/(\d),(?=\d{3})/g, '$1');
  const number = text.match(/^[±>]?\s*([+-]?\d[\d.]*(?:e[+-]?\d+)?)(?![\w.])/);
  return number ? [0, parseFloat(number[1])] : text === '' || text.startsWith('–') ? [2, ''] : [1, text];
};
for (const head of document.querySelectorAll('th')) head.firstElementChild.addEventListener('click', () => {
  const down = head.getAttribute('aria-sort') === 'ascending', body = head.closest('table').tBodies[0];
  for (const other of head.parentElement.cells) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const rows = [...body.rows].map(row => [key(row.cells[head.cellIndex]), row]);
  rows.sort(([[a, x]], [[b, y]]) => a - b || (down ? -1 : 1) * (a === 0 ? x - y : words.compare(x, y)));
  body.append(...rows.map(([, row]) => row));
});
// Interactive figures are drawn when they come into view; without Plotly's script the page has its images.
addEventListener('DOMContentLoaded', () => {
  if (!window.Plotly) return;
  document.body.classList.add('plotly');
  const dark = matchMedia('(prefers-color-scheme: dark)'), drawn = new Set();
  const draw = figure => {
    const text = figure.querySelector('script').textContent;
    const light = text.replaceAll('#000000', '#ffffff').replaceAll('rgba(0,0,0,', 'rgba(255,255,255,');
    const { data, layout } = JSON.parse(dark.matches ? light : text);
    const [ink, none] = [dark.matches ? '#e6e6e6' : '#1a1a1a', 'rgba(0,0,0,0)'];
    const look = { paper_bgcolor: none, plot_bgcolor: none, font: { color: ink } };
    look.hoverlabel = { bgcolor: dark.matches ? '#26282b' : '#fff' };
    Plotly.react(figure.querySelector('div'), data, { ...layout, ...look }, { responsive: true, displayModeBar: false });
    drawn.add(figure);
  };
  const seen = new IntersectionObserver(found => found.filter(each => each.isIntersecting).forEach(each => {
    draw(each.target);
    seen.unobserve(each.target);
  }), { rootMargin: '400px' });
  document.querySelectorAll('figure.plot').forEach(figure => seen.observe(figure));
  dark.addEventListener('change', () => drawn.forEach(draw));
});
