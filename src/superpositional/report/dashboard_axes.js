/* How numbers are written and where they go: formats, ticks and scales. Read before dashboard.js, within one script. */
'use strict';
const minus = text => text.replace(/-/g, '\u2212');
const round = value => Math.round(value * 100) / 100;

const format = (value, digits = 4) => {
  if (value === null) return '–';
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (size < 1e-3 || size >= 1e6) {
    const [head, power] = value.toExponential(digits - 1).split('e');
    return minus(`${head.includes('.') ? head.replace(/\.?0+$/, '') : head}e${Number(power)}`);
  }
  const text = Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size)))));
  return minus(size >= 1e4 ? text.toLocaleString('en-US') : String(text));
};

const niceStep = (span, count) => {
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find(m => m * power >= rough * 0.999) || 10);
};
const linearTicks = (low, high, count, whole) => {
  let step = niceStep(high - low || 1, count);
  if (whole) step = Math.max(1, Math.round(step));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
};
const logTicks = (low, high, count) => {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  const within = tick => tick >= low * 0.999 && tick <= high * 1.001;
  const powers = Array.from({ length: to - from + 1 }, (_, i) => Number(`1e${from + i}`));
  for (const marks of [[1], [1, 3], [1, 2, 5]]) {
    const ticks = powers.flatMap(power => marks.map(mark => Number((mark * power).toPrecision(3)))).filter(within);
    if (ticks.length >= 3) {
      const every = Math.ceil(ticks.length / count);
      return ticks.filter((_, i) => i % every === 0);
    }
  }
  return linearTicks(low, high, count).filter(tick => tick > 0);
};
/* A scale of values: where each goes between two ends in pixels, and its ticks. */
const scale = (values, log, from, to, count, { whole = false, pad = 0.04 } = {}) => {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (value !== null && (!log || value > 0)) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
  let [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  if (a === b) { const room = log ? 0.5 : Math.abs(a) * 0.05 || 0.5; a -= room; b += room; }
  const room = pad * (b - a);
  a -= room; b += room;
  const at = value => value === null || (log && value <= 0) ? null : from + ((log ? Math.log10(value) : value) - a) / (b - a) * (to - from);
  const ticks = log ? logTicks(10 ** a, 10 ** b, count) : linearTicks(a, b, count, whole);
  return { at, ticks, labels: labelled(ticks, log) };
};
/* Ticks are told apart with as few digits as do so, all of them alike. */
const labelled = (ticks, log) => {
  if (log) {
    /* Either all of them with an exponent or none. */
    const small = ticks.some(tick => tick < 1e-3 || tick >= 1e6);
    return ticks.map(tick => small ? minus(tick.toExponential().replace('e+', 'e')) : format(tick, 3));
  }
  const most = Math.max(...ticks.map(Math.abs), 0), step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : most;
  if (!ticks.length || !most) return ticks.map(tick => format(tick));
  if (most < 1e-3 || most >= 1e6) {
    const digits = Math.max(0, Math.floor(Math.log10(most)) - Math.floor(Math.log10(step) + 1e-9));
    return ticks.map(tick => tick === 0 ? '0' : minus(`${(tick / 10 ** Math.floor(Math.log10(most))).toFixed(digits)}e${Math.floor(Math.log10(most))}`));
  }
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return ticks.map(tick => minus(tick.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })));
};
const LETTER = 7.4, wide = text => LETTER * text.length;
