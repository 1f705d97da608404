// The list of pairs: live price, change, a small line. A listbox: arrows move, Enter chooses, `/` finds.

import { chain, change, compact, shorten } from './format.js';
import { $, css, el, empty, say, showPrice } from './dom.js';

const FLASH = { duration: 700, easing: 'ease-out' };
const STILL = window.matchMedia('(prefers-reduced-motion: reduce)');
const TRAIL_MS = 2000;
const TRAIL_MAX = 48;
const SVG = 'http://www.w3.org/2000/svg';

export const pairKey = (chainId, address) => `${chainId}/${address}`;

/** What a pair is called: its symbols where a trade told them. */
export function pairName(pair) {
  return { token: pair.token_symbol || shorten(pair.pair_address), base: pair.base_token_symbol || '' };
}

export class Pairs {
  #rows = new Map();
  #order = [];
  #selected = null;

  constructor(onChoose) {
    this.onChoose = onChoose;
    this.list = $('pairs');
    this.search = $('search');
    this.list.addEventListener('keydown', (event) => this.#key(event));
    this.search.addEventListener('input', () => this.#arrange());
    this.search.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') { this.search.value = ''; this.#arrange(); this.list.focus(); }
      if (event.key === 'Enter' || event.key === 'ArrowDown') { event.preventDefault(); this.list.focus(); this.#move(0); }
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === '/' && document.activeElement?.tagName !== 'INPUT') { event.preventDefault(); this.search.focus(); }
    });
  }

  get(key) { return this.#rows.get(key)?.pair; }
  get first() { return this.#order[0]; }

  /** Takes the server's list. */
  set(pairs) {
    for (const pair of pairs) {
      const key = pairKey(pair.chain_id, pair.pair_address);
      const row = this.#rows.get(key) ?? this.#row(key, pair);
      row.pair = { ...pair, price: row.livePrice ?? pair.price };
      this.#draw(row);
    }
    const known = new Set(pairs.map((pair) => pairKey(pair.chain_id, pair.pair_address)));
    for (const key of this.#rows.keys()) if (!known.has(key)) this.#rows.delete(key);
    this.#order = pairs.map((pair) => pairKey(pair.chain_id, pair.pair_address));
    this.#arrange();
  }

  /** A candle moved: the price follows at once, the rest with the next list. Returns false for a pair not yet in the list. */
  live(candle) {
    const row = this.#rows.get(pairKey(candle.chain_id, candle.pair_address));
    if (!row) return false;
    if (candle.candle_time < (row.liveTime ?? 0)) return true;
    const before = row.pair.price;
    row.liveTime = candle.candle_time;
    row.livePrice = candle.close;
    if (candle.close === before) return true;
    const first = before / (1 + (row.pair.change_24h ?? 0));
    row.pair.price = candle.close;
    if (performance.now() - (row.trailAt ?? -Infinity) > TRAIL_MS) {
      row.trailAt = performance.now();
      row.trail = [...(row.trail ?? []), candle.close].slice(-TRAIL_MAX);
    }
    if (Number.isFinite(first) && first > 0) row.pair.change_24h = candle.close / first - 1;
    this.#draw(row);
    if (!STILL.matches) row.price.animate([{ color: css(candle.close > before ? '--up' : '--down') }, {}], FLASH);
    return true;
  }

  select(key) {
    this.#selected = key;
    for (const [other, row] of this.#rows) row.node.setAttribute('aria-selected', String(other === key));
    const row = this.#rows.get(key);
    if (row) {
      this.list.setAttribute('aria-activedescendant', row.node.id);
      row.node.scrollIntoView({ block: 'nearest' });
    }
  }

  failed(message) {
    if (this.#order.length === 0) empty($('pairs-empty'), 'No answer from the server', message);
  }

  #row(key, pair) {
    const price = el('b', {});
    const percent = el('small', {});
    const path = document.createElementNS(SVG, 'path');
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', '0 0 56 24');
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    svg.append(path);
    const name = el('b', { class: 'name' });
    const detail = el('small', {});
    const node = el('li', { class: 'pair', role: 'option', id: `pair-${this.#rows.size}-${Math.random().toString(36).slice(2)}`,
      'data-key': key, 'aria-selected': String(key === this.#selected), onclick: () => this.onChoose(key) },
    el('div', {}, name, detail), svg, el('div', { class: 'right' }, price, percent));
    const row = { node, price, percent, path, name, detail, pair };
    this.#rows.set(key, row);
    return row;
  }

  #draw(row) {
    const { pair } = row;
    const { token, base } = pairName(pair);
    row.name.replaceChildren(el('i', {}, token), ...(base ? [el('span', {}, ` / ${base}`)] : []));
    say(row.detail, `${chain(pair.chain_id)} · $${compact(pair.volume_24h)}`);
    showPrice(row.price, pair.price);
    say(row.percent, change(pair.change_24h));
    const rises = pair.change_24h > 0.00005;
    const falls = pair.change_24h < -0.00005;
    row.percent.className = rises ? 'up' : falls ? 'down' : '';
    row.node.classList.toggle('rises', rises);
    row.node.classList.toggle('falls', falls);
    // A young store has few closes of its long grain; what was seen since says more.
    const closes = pair.sparkline ?? [];
    const seen = (row.trail ?? []).length > closes.length ? row.trail : closes;
    row.path.setAttribute('d', line([...seen, pair.price]));
    row.node.title = pair.pair_address;
  }

  #arrange() {
    const wanted = this.search.value.trim().toLowerCase();
    const shown = this.#order.filter((key) => {
      const { pair } = this.#rows.get(key);
      return !wanted || `${pair.token_symbol ?? ''}/${pair.base_token_symbol ?? ''} ${pair.pair_address} ${chain(pair.chain_id)}`.toLowerCase().includes(wanted);
    });
    const nodes = shown.map((key) => this.#rows.get(key).node);
    // Moves nothing that stands right: a moved node loses its hover and its animation.
    nodes.forEach((node, at) => { if (this.list.children[at] !== node) this.list.insertBefore(node, this.list.children[at] ?? null); });
    while (this.list.children.length > nodes.length) this.list.lastChild.remove();
    say($('pairs-count'), this.#order.length ? String(this.#order.length) : '');
    if (this.#order.length === 0) {
      empty($('pairs-empty'), 'Waiting for the first trade', 'Send some with ', el('code', {}, 'kohort replay FILE --topic eth-trades'));
    } else {
      empty($('pairs-empty'), shown.length === 0 ? 'No pair is called that' : '');
    }
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.#move(step);
  }

  #move(step) {
    const keys = [...this.list.children].map((node) => node.dataset.key);
    if (keys.length === 0) return;
    const at = keys.indexOf(this.#selected);
    const next = keys[Math.min(Math.max(at < 0 ? 0 : at + step, 0), keys.length - 1)];
    if (next !== this.#selected) this.onChoose(next);
  }
}

/** A small line through the closes, as an SVG path of 56 by 24. */
export function line(values) {
  const points = values.filter(Number.isFinite);
  if (points.length < 2) return '';
  const low = Math.min(...points);
  const span = Math.max(...points) - low;
  return points.map((value, at) => {
    const x = (at / (points.length - 1)) * 56;
    const y = span === 0 ? 12 : 22 - ((value - low) / span) * 20;
    return `${at ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
  }).join('');
}
