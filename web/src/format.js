// Numbers and times as a person reads them. Plain functions; the tests call them without a browser.

const SUBSCRIPTS = '₀₁₂₃₄₅₆₇₈₉';

/**
 * A price in about five significant digits, as parts: `zeros` counts the noughts after the point that are folded away, so that
 * 0.000000001234 reads 0.0₈1234 and fits a column beside 61,837.63.
 */
export function priceParts(price, digits = 5) {
  if (!Number.isFinite(price)) return { head: '–', zeros: 0, tail: '' };
  const size = Math.abs(price);
  if (size === 0) return { head: '0', zeros: 0, tail: '' };
  if (size >= 1e15) return { head: price.toExponential(digits - 1), zeros: 0, tail: '' };
  if (size >= 1e9) return { head: compact(price, digits), zeros: 0, tail: '' };
  if (size >= 0.001) {
    const whole = Math.max(Math.floor(Math.log10(size)) + 1, 0);
    const leading = size < 1 ? -Math.floor(Math.log10(size)) - 1 : 0;
    const places = size >= 1 ? Math.max(digits - whole, 2) : Math.min(digits - 1 + leading, 7);
    return { head: grouped(price, places), zeros: 0, tail: '' };
  }
  const [mantissa, exponent] = size.toExponential(digits - 2).split('e');
  const tail = mantissa.replace('.', '').replace(/0+$/, '');
  return { head: (price < 0 ? '-' : '') + '0.0', zeros: -Number(exponent) - 1, tail };
}

/** A price as one text, for the chart's axis. */
export function price(value, digits = 5) {
  const { head, zeros, tail } = priceParts(value, digits);
  return head + (zeros ? String(zeros).replace(/\d/g, (digit) => SUBSCRIPTS[digit]) : '') + tail;
}

/** 1234567 as 1.2346M. */
export function compact(value, digits = 4) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e12, 'T'], [1e9, 'B'], [1e6, 'M'], [1e3, 'K']]) {
    if (size >= unit * 0.99995) return trimmed(value / unit, digits) + letter;
  }
  return trimmed(value, digits);
}

function trimmed(value, digits) {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.01) return price(value, 4);
  const whole = size >= 1 ? Math.floor(Math.log10(size)) + 1 : 1;
  return grouped(value, Math.min(Math.max(digits - whole, 0), 2));
}

function grouped(value, places) {
  return value.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
}

/** A whole number with its thousands divided. */
export function integer(value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : '–';
}

/** The sum of what is known; null where nothing is. */
export function sum(values) {
  const known = values.filter(Number.isFinite);
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
}

/** A fraction as a change: 0.0123 is +1.23%. */
export function change(fraction) {
  if (!Number.isFinite(fraction)) return '–';
  const percent = fraction * 100;
  const size = Math.abs(percent);
  const text = size >= 1000 ? compact(size) : grouped(size, size >= 100 ? 1 : 2);
  const zero = Number(text.replace(/,/g, '')) === 0;
  return `${zero ? '' : percent < 0 ? '−' : '+'}${text}%`;
}

/** How long ago, in one unit. */
export function ago(ms, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - ms) / 1000));
  if (seconds < 2) return 'now';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** The middle of a long id gives way. */
export function shorten(text, head = 6, tail = 4) {
  return text.length <= head + tail + 2 ? text : `${text.slice(0, head)}…${text.slice(-tail)}`;
}

const CHAINS = { 1: 'Ethereum', 10: 'Optimism', 56: 'BNB Chain', 137: 'Polygon', 8453: 'Base', 42161: 'Arbitrum', 100000: 'Solana' };

/** The name of a chain by its number; 0 stands for exchanges. */
export function chain(id) {
  return CHAINS[id] ?? (Number(id) === 0 ? 'Exchange' : `Chain ${id}`);
}
