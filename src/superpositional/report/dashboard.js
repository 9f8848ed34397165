/* Draws the panels of a dashboard from the data within the page, and answers the pointer, the keyboard and the legend.
   No library: each panel is a string of SVG, made anew when something changes. */
const data = JSON.parse(document.getElementById('data').textContent);
/* Fewer seeds than this, and Student's interval says more of t than of the runs: it is told, but not drawn. */
const BAND = 5, WIDTH = 1.6, UNSWEPT = '#767676', INK = '#1a1a1a', GRID = '#e4e4e2', DIM = '#595959';
const state = { group: -1, seeds: false, paired: false, hidden: new Set(), logs: data.panels.map(panel => panel.log) };
const shown = new Map();

const esc = text => String(text).replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);

/* Looks ---------------------------------------------------------------------------------------------------------- */

const look = index => {
  const arm = data.arms[index], group = data.groups[state.group];
  if (!group) return { color: arm.color, dash: arm.dash, marker: arm.marker };
  const place = group.arms[index];
  if (!place) return { color: UNSWEPT, dash: arm.dash, marker: arm.marker };
  return { color: group.colors[place[0]], dash: group.dashes[place[1]], marker: 'os^DvPX<'[place[1] % 8] };
};
/* One arm, or of a grouping all arms that have a value of the setting in common. */
const entries = () => {
  const group = data.groups[state.group], all = data.arms.map((_, i) => i);
  if (!group) return all.map(i => ({ name: data.arms[i].label, arms: [i], ...look(i) }));
  const found = group.values.map((value, v) => ({
    name: `${group.name} ${value}`, arms: all.filter(i => group.arms[i] && group.arms[i][0] === v), color: group.colors[v], dash: '', marker: '',
  }));
  const rest = all.filter(i => !group.arms[i]);
  if (rest.length) found.push({ name: `not swept: ${rest.map(i => data.arms[i].label).join(', ')}`, arms: rest, color: UNSWEPT, dash: '', marker: '' });
  return found;
};
const marker = (kind, x, y, size, attributes) => {
  const s = size, t = s * 0.5;
  const shapes = {
    s: `M${-s},${-s}h${2 * s}v${2 * s}h${-2 * s}z`, D: `M0,${-1.3 * s}L${1.3 * s},0L0,${1.3 * s}L${-1.3 * s},0z`,
    '^': `M0,${-1.2 * s}L${1.2 * s},${s}H${-1.2 * s}z`, v: `M0,${1.2 * s}L${1.2 * s},${-s}H${-1.2 * s}z`,
    '<': `M${-1.2 * s},0L${s},${-1.2 * s}V${1.2 * s}z`,
    P: `M${-t},${-1.2 * s}H${t}V${-t}H${1.2 * s}V${t}H${t}V${1.2 * s}H${-t}V${t}H${-1.2 * s}V${-t}H${-t}z`,
    X: `M${-s},${-s}L0,${-t}L${s},${-s}L${t},0L${s},${s}L0,${t}L${-s},${s}L${-t},0z`,
  };
  return shapes[kind]
    ? `<path d="${shapes[kind]}" transform="translate(${round(x)} ${round(y)})" ${attributes}/>`
    : `<circle cx="${round(x)}" cy="${round(y)}" r="${1.1 * s}" ${attributes}/>`;
};
const trace = points => {
  let path = '', on = false;
  for (const [x, y] of points) {
    if (y === null || x === null) { on = false; continue; }
    path += `${on ? 'L' : 'M'}${round(x)},${round(y)}`;
    on = true;
  }
  return path;
};
const text = (x, y, words, extra = '') => `<text x="${round(x)}" y="${round(y)}" ${extra}>${esc(words)}</text>`;

/* Panels --------------------------------------------------------------------------------------------------------- */

const visible = index => !state.hidden.has(index);
const interval = (low, high) => low === null ? '(no interval)' : `[${format(low)}, ${format(high)}]`;
const runs = (index, n) => {
  const arm = data.arms[index];
  return `n = ${n}${n === arm.planned ? '' : ` of ${arm.planned}`}`;
};
const unit = panel => state.paired && panel.unit === '%' ? 'points' : panel.unit;
const says = (panel, row, before, mean, low, high) => {
  const name = `${data.arms[row.arm].label}${state.paired ? ` \u2212 ${data.arms[row.to].label}` : ''}`;
  const sign = state.paired && mean > 0 ? '+' : '';
  return `${before}${name}: ${sign}${format(mean)}${unit(panel) && ` ${unit(panel)}`} ${interval(low, high)}, ${runs(row.arm, row.n)}`;
};
/* What is drawn of a panel: of each arm that is shown its values, or its differences to its baseline, which has none. */
const rowsOf = panel => {
  const rows = (panel.lines || panel.points).filter(row => visible(row.arm));
  if (!state.paired) return rows;
  return rows.filter(row => row.paired).map(row => ({ ...row.paired, arm: row.arm, place: row.place, seeds: panel.lines ? null : [[], []] }));
};

const frame = (box, y, x, xName) => {
  let svg = '';
  y.ticks.forEach((tick, i) => {
    const at = y.at(tick);
    svg += `<path d="M${box.left},${round(at)}H${box.right}" stroke="${GRID}"/>${text(box.left - 6, at + 4, y.labels[i], 'text-anchor="end"')}`;
  });
  let end = -Infinity;
  x.ticks.forEach((tick, i) => {
    const at = x.at(tick), half = wide(x.labels[i]) / 2, middle = Math.min(at, box.width - half);
    if (middle - half < end + 6) return;
    end = middle + half;
    svg += `<path d="M${round(at)},${box.bottom}v4" stroke="${DIM}"/>${text(middle, box.bottom + 17, x.labels[i], 'text-anchor="middle"')}`;
  });
  svg += `<path d="M${box.left},${box.bottom}H${box.right}" stroke="${DIM}"/>`;
  if (state.paired) svg += `<path d="M${box.left},${round(y.at(0))}H${box.right}" stroke="${DIM}" stroke-dasharray="4 3"/>`;
  return svg + text((box.left + box.right) / 2, box.bottom + 33, xName, 'text-anchor="middle" class="axis"');
};
const bounds = (width, height, labels) => {
  const left = Math.min(0.45 * width, 12 + Math.max(24, ...labels.map(wide)));
  return { width, left, right: width - 8, top: 8, bottom: height - 40 };
};

const drawLines = (panel, log, width) => {
  const height = 250, lines = rowsOf(panel);
  const banded = line => line.n >= BAND && (state.paired || !state.seeds);
  const values = state.paired ? [0] : [], steps = [];
  for (const line of lines) {
    if (line.mean) { values.push(...line.mean); steps.push(data.grids[line.at][0], data.grids[line.at].at(-1)); }
    if (line.mean && banded(line)) values.push(...line.low, ...line.high);
    for (const [, , at, row] of state.seeds && line.seeds || []) { values.push(...row); steps.push(data.grids[at][0], data.grids[at].at(-1)); }
  }
  const first = scale(values, log, height - 40, 8, 5);
  const box = bounds(width, height, first.labels);
  const x = scale(steps, false, box.left + 2, box.right - 2, Math.max(2, width / 75), { whole: true, pad: 0.01 });
  const y = first;
  let svg = frame(box, y, x, 'step'), edges = '', above = '';
  const items = [];
  for (const line of lines) {
    const { color, dash } = look(line.arm), name = data.arms[line.arm].label;
    if (line.mean) {
      const at = data.grids[line.at], mean = line.mean.map((value, i) => [x.at(at[i]), y.at(value)]);
      if (banded(line)) {
        /* Where the interval reaches below what a log axis can show, it ends at the axis. */
        const low = line.low.map((value, i) => [x.at(at[i]), y.at(value) ?? (value === null ? null : box.bottom)]);
        const high = line.high.map((value, i) => [x.at(at[i]), y.at(value)]);
        const there = at.map((_, i) => i).filter(i => low[i][1] !== null && high[i][1] !== null);
        const edge = [...there.map(i => high[i]), ...there.reverse().map(i => [low[i][0], Math.min(low[i][1], box.bottom)])];
        if (edge.length > 2) svg += `<path d="${trace(edge)}z" fill="${color}" fill-opacity="${round(Math.min(0.16, 0.4 / lines.length))}"/>`;
      }
      /* Among single seeds a mean needs an edge to be seen. */
      if (state.seeds) edges += `<path d="${trace(mean)}" fill="none" stroke="#fff" stroke-width="4.5"/>`;
      above += `<path data-arm="${line.arm}" class="curve" d="${trace(mean)}" fill="none" stroke="${color}" stroke-width="${state.seeds ? 2.2 : WIDTH}" stroke-dasharray="${dash}"/>`;
      if (mean.length === 1 && mean[0][1] !== null) above += `<circle cx="${mean[0][0]}" cy="${mean[0][1]}" r="3" fill="${color}"/>`;
      items.push({ points: mean, color, say: i => says(panel, line, `step ${format(at[i])} · `, line.mean[i], line.low[i], line.high[i]) });
    }
    if (state.seeds && line.seeds) {
      let path = '';
      for (const [seed, end, grid, row] of line.seeds) {
        const at = data.grids[grid], points = row.map((value, i) => [x.at(at[i]), y.at(value)]);
        path += trace(points);
        const who = `${name}, seed ${seed}${end && ` (${end})`}`;
        items.push({ points, color, say: i => `step ${format(at[i])} · ${who}: ${format(row[i])}${panel.unit && ` ${panel.unit}`}` });
        const last = points.findLast(point => point[1] !== null);
        if (end && last) above += marker('X', ...last, 3.2, `fill="${color}"`);
      }
      svg += `<path data-arm="${line.arm}" class="seeds" d="${path}" fill="none" stroke="${color}" stroke-width="0.7" stroke-opacity="0.5"/>`;
    }
  }
  return { height, svg: svg + edges + above, items, box };
};

const drawBars = (panel, log, width) => {
  const points = rowsOf(panel), row = 24;
  const names = points.map(point => data.arms[point.arm].label);
  const height = Math.max(100, 50 + row * points.length);
  const box = bounds(width, height, names);
  const letters = Math.round((box.left - 12) / LETTER);
  const loose = point => !state.paired && state.seeds || point.n < BAND;
  const values = points.flatMap(point => [point.mean, ...(loose(point) ? point.seeds[1] : [point.low, point.high])]);
  if (state.paired) values.push(0);
  const x = scale(values, log, box.left + 6, box.right - 6, Math.max(3, (width - box.left) / 55));
  let svg = '', end = -Infinity;
  x.ticks.forEach((tick, i) => {
    const at = x.at(tick), half = wide(x.labels[i]) / 2, middle = Math.min(at, width - half);
    svg += `<path d="M${round(at)},${box.top}V${box.bottom}" stroke="${GRID}"/>`;
    if (middle - half < end + 6) return;
    end = middle + half;
    svg += text(middle, box.bottom + 17, x.labels[i], 'text-anchor="middle"');
  });
  svg += `<path d="M${box.left},${box.bottom}H${box.right}" stroke="${DIM}"/>`;
  if (state.paired) svg += `<path d="M${round(x.at(0))},${box.top}V${box.bottom}" stroke="${DIM}" stroke-dasharray="4 3"/>`;
  svg += text((box.left + box.right) / 2, box.bottom + 33, unit(panel) || 'value', 'text-anchor="middle" class="axis"');
  const items = points.map((point, i) => {
    const { color, marker: kind } = look(point.arm), at = box.top + row * (i + 0.5), place = value => x.at(value);
    const short = names[i].length > letters ? `${names[i].slice(0, letters - 1)}…` : names[i];
    svg += `<g>${text(box.left - 8, at + 4, short, 'text-anchor="end"')}<title>${esc(names[i])}</title></g>`;
    const dots = loose(point) ? dotted(point, (value, shift) => [place(value), value === null ? null : at + shift], color) : { svg: '', items: [] };
    svg += dots.svg;
    const [low, high] = [place(point.low) ?? box.left, place(point.high)];
    if (!loose(point) && point.low !== null && high !== null) svg += `<path d="M${round(low)},${at}H${round(high)}" stroke="${color}" stroke-width="2"/>`;
    const middle = place(point.mean);
    if (middle !== null) svg += marker(kind, middle, at, 4, `data-arm="${point.arm}" class="point" fill="${color}" stroke="#fff" stroke-width="0.8"`);
    return [{ points: [[middle, at]], color, say: () => says(panel, point, '', point.mean, point.low, point.high) }, ...dots.items];
  });
  return { height, svg, items: items.flat(), box };
};

/* Each seed's own value, beside one another so that equal ones can be told. */
const dotted = (point, place, color) => {
  const [seeds, values] = point.seeds, found = { svg: '', items: [] };
  values.forEach((value, i) => {
    const [x, y] = place(value, ((i * 5) % 7 - 3) * 1.5);
    if (x === null || y === null) return;
    found.svg += `<circle cx="${round(x)}" cy="${round(y)}" r="2.2" fill="${color}" fill-opacity="0.55"/>`;
    found.items.push({ points: [[x, y]], color, seed: true, say: () => `${data.arms[point.arm].label}, seed ${seeds[i]}: ${format(value)}` });
  });
  return found;
};

const drawScatter = (panel, log, width) => {
  const height = 250, points = rowsOf(panel), group = data.groups[panel.group];
  const loose = point => point.place && (!state.paired && state.seeds || point.n < BAND);
  const values = points.flatMap(point => [point.mean, ...(loose(point) ? point.seeds[1] : point.place ? [point.low, point.high] : [])]);
  if (state.paired) values.push(0);
  const y = scale(values, log, height - 40, 8, 5), box = bounds(width, height, y.labels);
  const slot = (box.right - box.left) / panel.xs.length, all = group.series.length;
  const across = point => box.left + slot * (point.place[0] + 0.5) + (point.place[1] - (all - 1) / 2) * Math.min(14, slot / (all + 1));
  const x = { ticks: panel.xs.map((_, i) => i), labels: panel.xs, at: i => box.left + slot * (i + 0.5) };
  let svg = frame(box, y, x, panel.x), above = '';
  const items = [];
  for (const point of points.filter(each => !each.place)) {
    const { color, dash } = look(point.arm), at = y.at(point.mean);
    if (at === null) continue;
    svg += `<path data-arm="${point.arm}" class="curve" d="M${box.left},${round(at)}H${box.right}" stroke="${color}" stroke-width="1.2" stroke-dasharray="${dash}" stroke-opacity="0.75"/>`;
    items.push({ points: [[box.left + 20, at], [(box.left + box.right) / 2, at], [box.right - 20, at]], color,
      say: () => says(panel, point, '', point.mean, point.low, point.high) });
  }
  for (let s = 0; s < all; s++) {
    const own = points.filter(each => each.place && each.place[1] === s).sort((a, b) => a.place[0] - b.place[0]);
    svg += `<path d="${trace(own.map(point => [across(point), y.at(point.mean)]))}" fill="none" stroke="${DIM}" stroke-width="1" stroke-dasharray="${group.dashes[s]}"/>`;
    for (const point of own) {
      const { color, marker: kind } = look(point.arm), at = across(point), middle = y.at(point.mean);
      const dots = loose(point) ? dotted(point, (value, shift) => [at + shift, y.at(value)], color) : { svg: '', items: [] };
      svg += dots.svg;
      const [low, high] = [y.at(point.low) ?? box.bottom, y.at(point.high)];
      if (!loose(point) && point.low !== null && high !== null) svg += `<path d="M${round(at)},${round(low)}V${round(high)}" stroke="${color}" stroke-width="2"/>`;
      if (middle !== null) above += marker(kind, at, middle, 4, `data-arm="${point.arm}" class="point" fill="${color}" stroke="#fff" stroke-width="0.8"`);
      items.push({ points: [[at, middle]], color,
        say: () => says(panel, point, `${panel.x} ${panel.xs[point.place[0]]} · `, point.mean, point.low, point.high) }, ...dots.items);
    }
  }
  return { height, svg: svg + above, items, box };
};

/* Of what the panel shows: over how many seeds, and which arms have fewer than were planned. */
const counted = (panel, log) => {
  const rows = rowsOf(panel);
  if (!rows.length) return state.paired ? 'No arm that is shown has a pair.' : 'No arm is shown.';
  const of = state.paired ? 'pair' : 'seed', what = state.paired ? 'Mean paired difference' : 'Mean';
  const alike = new Map();
  for (const row of rows) {
    const arm = data.arms[row.arm], whole = row.n === arm.planned;
    const key = whole ? `n = ${row.n} ${of}${row.n === 1 ? '' : 's'}` : `${row.n} of ${arm.planned}${arm.ends && ` (${arm.ends})`}`;
    alike.set(key, [...(alike.get(key) || []), whole ? '' : arm.label]);
  }
  const said = [...alike].sort(([a], [b]) => b.startsWith('n =') - a.startsWith('n =')).map(([key, names]) =>
    key.startsWith('n =') ? key : alike.size === 1 ? `n = ${key} ${of}s` : `${names.join(', ')}: ${key}`);
  const words = rows.some(row => row.n >= BAND) ? `${what}, 95 % t interval` : what;
  const below = rows.flatMap(row => row.mean || []).some(value => value !== null && value <= 0);
  return `${words}, ${said.join('; ')}.${log && below ? ' What is not above 0 has no place on a log axis.' : ''}`;
};

const draw = (place, k) => {
  const panel = data.panels[k];
  /* Nothing to draw takes no room, and says why. */
  place.parentElement.classList.toggle('none', !rowsOf(panel).length);
  const width = Math.max(240, Math.floor(place.clientWidth));
  /* Differences have signs. */
  const log = state.logs[k] && !state.paired;
  const kinds = { line: drawLines, bar: drawBars, scatter: drawScatter };
  const made = kinds[panel.kind](panel, log, width);
  place.innerHTML = `<svg viewBox="0 0 ${width} ${made.height}" width="${width}" height="${made.height}" tabindex="0" role="group" aria-roledescription="chart" aria-label="${esc(`${panel.title}. ${counted(panel, log)} Arrow keys tell the values.`)}">${made.svg}<g class="mark"></g></svg>`;
  shown.set(place, { ...made, item: 0, point: -1, panel, log });
  tell(place, null);
};
const redraw = () => document.querySelectorAll('.plot').forEach(place => draw(place, Number(place.dataset.panel)));

/* Pointer and keyboard ------------------------------------------------------------------------------------------- */

const tell = (place, item, index) => {
  const said = place.parentElement.querySelector('.said'), mark = place.querySelector('.mark'), { panel, box, log } = shown.get(place);
  if (!item) {
    const words = counted(panel, log);
    if (said.textContent !== words) said.textContent = words;
    said.classList.remove('now');
    mark.innerHTML = '';
    return;
  }
  const [x, y] = item.points[index];
  said.textContent = item.say(index);
  said.classList.add('now');
  mark.innerHTML = `<path d="M${round(x)},${box.top}V${box.bottom}" stroke="${DIM}" stroke-opacity="0.4"/><circle cx="${round(x)}" cy="${round(y)}" r="4.5" fill="none" stroke="${INK}" stroke-width="1.6"/>`;
};
/* Of each line the point nearest across, of those the nearest by height: lines that are close can all be reached. */
const nearest = (place, event) => {
  const { items, panel } = shown.get(place), svg = place.firstElementChild, rect = svg.getBoundingClientRect();
  const ratio = svg.viewBox.baseVal.width / rect.width, px = (event.clientX - rect.left) * ratio, py = (event.clientY - rect.top) * ratio;
  let best = null;
  items.forEach((item, i) => {
    let own = null;
    item.points.forEach(([x, y], j) => {
      if (x === null || y === null) return;
      const far = Math.abs(x - px);
      if (!own || far < own.far) own = { far, i, j, y };
    });
    if (!own) return;
    own.all = (panel.kind === 'line' ? 3 : 1) * own.far + Math.abs(own.y - py);
    if (!best || own.all < best.all) best = own;
  });
  return best;
};
const step = (place, key) => {
  const now = shown.get(place), seen = item => item.points.some(point => point[0] !== null && point[1] !== null);
  if (!now.items.some(seen)) return;
  const count = now.items.length, aside = { ArrowUp: -1, ArrowDown: 1 }[key] || 0;
  const along = { ArrowLeft: -1, ArrowRight: 1 }[key] || 0;
  do now.item = (now.item + aside + count) % count; while (aside && !seen(now.items[now.item]));
  const points = now.items[now.item].points, last = points.length - 1;
  /* Of an arm's single value the next one is another arm's. */
  if (last === 0 && along) { now.item = (now.item + along + count) % count; now.point = 0; }
  else now.point = key === 'Home' ? 0 : key === 'End' ? last : now.point < 0 ? (along < 0 ? last : 0) : Math.min(last, Math.max(0, now.point + along));
  const item = now.items[now.item];
  now.point = Math.min(now.point, item.points.length - 1);
  if (item.points[now.point][1] !== null && item.points[now.point][0] !== null) tell(place, item, now.point);
};

/* Which dashes a series has, where the colour tells the value. */
const seriesOf = group => !group || group.series.length < 2 ? '' : group.series.map((name, s) =>
  `<span><svg width="30" height="12" aria-hidden="true"><path d="M0,6H30" stroke="${INK}" stroke-width="1.6" stroke-dasharray="${group.dashes[s]}"/>${marker('os^DvPX<'[s % 8], 15, 6, 3.2, `fill="${INK}"`)}</svg> ${esc(name)}</span>`).join('');

const legend = () => {
  const place = document.getElementById('legend'), focused = [...place.children].indexOf(document.activeElement);
  place.innerHTML = entries().map((entry, i) => {
    const pressed = entry.arms.some(visible), arm = entry.arms.length === 1 ? data.arms[entry.arms[0]] : null;
    const less = arm && arm.n !== arm.planned ? ` ${arm.n} of ${arm.planned}` : '';
    const tip = [arm && arm.method, arm && arm.ends, 'click: hide or show; shift and click: this alone'].filter(Boolean).join('; ');
    return `<button type="button" data-entry="${i}" aria-pressed="${pressed}" title="${esc(tip)}"><svg width="30" height="12" aria-hidden="true"><path d="M0,6H30" stroke="${entry.color}" stroke-width="2" stroke-dasharray="${entry.dash}"/>${entry.marker ? marker(entry.marker, 15, 6, 3.2, `fill="${entry.color}"`) : ''}</svg>${esc(entry.name)}${less && `<small>${less}</small>`}${arm && arm.method && arm.method !== arm.label ? `<small>${esc(arm.method)}</small>` : ''}</button>`;
  }).join('') + seriesOf(data.groups[state.group]) + (state.hidden.size ? '<button type="button" data-entry="all">show all</button>' : '');
  if (focused >= 0 && place.children[focused]) place.children[focused].focus();
};

document.getElementById('legend').addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  const every = entries(), entry = every[button.dataset.entry];
  if (!entry) state.hidden.clear();
  else if (event.shiftKey) state.hidden = new Set(every.filter(each => each !== entry).flatMap(each => each.arms));
  else { const hide = entry.arms.some(visible); entry.arms.forEach(i => hide ? state.hidden.add(i) : state.hidden.delete(i)); }
  legend(); redraw();
});
for (const name of ['seeds', 'paired']) document.getElementById(name).addEventListener('change', event => {
  state[name] = event.target.checked;
  redraw();
});
const grouping = document.getElementById('group');
if (grouping) grouping.addEventListener('change', event => { state.group = Number(event.target.value); legend(); redraw(); });
for (const place of document.querySelectorAll('.plot')) {
  const k = Number(place.dataset.panel), button = place.parentElement.querySelector('.log');
  button.setAttribute('aria-pressed', state.logs[k]);
  button.addEventListener('click', () => {
    state.logs[k] = !state.logs[k];
    button.setAttribute('aria-pressed', state.logs[k]);
    draw(place, k);
  });
  place.addEventListener('pointermove', event => {
    const found = nearest(place, event), now = shown.get(place);
    if (found) { [now.item, now.point] = [found.i, found.j]; tell(place, now.items[found.i], found.j); }
  });
  place.addEventListener('pointerdown', event => place.dispatchEvent(new PointerEvent('pointermove', event)));
  place.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') tell(place, null); });
  /* Who reads by ear hears what the keys ask for, and not what passes under a pointer. */
  const live = on => place.parentElement.querySelector('.said').setAttribute('aria-live', on ? 'polite' : 'off');
  place.addEventListener('focusin', () => live(true));
  place.addEventListener('focusout', () => { live(false); if (shown.has(place)) tell(place, null); });
  place.addEventListener('keydown', event => {
    if (!['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End', 'Escape'].includes(event.key)) return;
    event.preventDefault();
    if (event.key === 'Escape') tell(place, null); else step(place, event.key);
  });
}
/* A browser may have kept what was chosen before the page was opened again. */
for (const name of ['seeds', 'paired']) state[name] = document.getElementById(name).checked;
if (grouping) state.group = Number(grouping.value);
legend();
let width = 0;
new ResizeObserver(() => { if (document.body.clientWidth !== width) { width = document.body.clientWidth; redraw(); } }).observe(document.body);
width = document.body.clientWidth;
redraw();
