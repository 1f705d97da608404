// Ties the page together: which pair and interval are seen, who asks what and when.

import { ask, every, Live } from './api.js';
import { Chart } from './chart.js';
import { $, el, empty, say, showPrice } from './dom.js';
import { chain, change, compact, integer, price, shorten } from './format.js';
import { Groups } from './groups.js';
import { pairKey, pairName, Pairs } from './pairs.js';

const INTERVALS = ['1m', '5m', '15m', '1h', '4h', '12h', '1d'];
const PAGE = 600;
// How long an unchosen page follows the most active pair; later a change of its own would startle.
const FOLLOW_MS = 15_000;

// `settled`: somebody chose what is seen. Until then the page follows the most active pair: a store that is just being filled
// begins with whichever trades came first.
const state = { key: null, interval: '1m', updates: 0, asked: null, older: false, settled: false };

// The address says what is seen: #/CHAIN/PAIR/INTERVAL can be kept and shared.
function readHash() {
  const [, chainId, address, interval] = decodeURIComponent(location.hash).split('/');
  if (INTERVALS.includes(interval)) state.interval = interval;
  if (chainId && address) { state.key = pairKey(chainId, address); state.settled = true; }
}

function writeHash() {
  if (state.key && state.settled) history.replaceState(null, '', `#/${state.key.split('/').map(encodeURIComponent).join('/')}/${state.interval}`);
}

const where = () => {
  const [chainId, ...address] = state.key.split('/');
  return { chain: Number(chainId), pair: address.join('/'), interval: state.interval };
};

const pairs = new Pairs((key) => wish(key, state.interval));
const chart = new Chart(loadOlder);
const groups = new Groups((name) => { groups.chosen = name; refreshGroups(); });

const live = new Live({
  onCandles(candles) {
    state.updates += candles.length;
    for (const candle of candles) {
      if (candle.interval === '1m' && !pairs.live(candle)) unknown.add(pairKey(candle.chain_id, candle.pair_address));
      if (candle.interval === state.interval && pairKey(candle.chain_id, candle.pair_address) === state.key && chart.size) chart.update(candle);
    }
    if (unknown.size) refreshPairsSoon();
    drawHead();
  },
  onState(link, waitMs) {
    const node = $('link');
    node.dataset.state = link;
    say(node.lastElementChild, link === 'live' ? 'live' : `connection lost, next try in ${Math.max(1, Math.round(waitMs / 1000))} s`);
    // What happened in between was missed: ask anew.
    if (link === 'live') { refreshPairs(); refreshGroups(); if (state.key) load(); }
  },
});
live.subscribe({ interval: '1m' });

/** Somebody wants to see this. */
function wish(key, interval) {
  state.settled = true;
  choose(key, interval);
}

function choose(key, interval) {
  if (state.wanted) live.unsubscribe(state.wanted);
  state.key = key;
  state.interval = interval;
  state.wanted = where();
  live.subscribe(state.wanted);
  pairs.select(key);
  for (const button of $('intervals').children) {
    const on = button.textContent === interval;
    button.setAttribute('aria-checked', String(on));
    button.tabIndex = on ? 0 : -1;
  }
  writeHash();
  drawHead();
  load();
}

async function load() {
  state.asked?.abort();
  const asked = state.asked = new AbortController();
  state.older = false;
  try {
    const candles = await ask('/api/candles', { ...where(), limit: PAGE }, asked.signal);
    if (asked.signal.aborted) return;
    chart.show(candles);
    state.older = candles.length === PAGE;
    empty($('chart-empty'), candles.length ? '' : 'No candles here yet', 'The first trade of this pair draws the first one.');
    drawHead();
  } catch (error) {
    if (error.name !== 'AbortError' && chart.size === 0) empty($('chart-empty'), 'The candles did not come', error.message);
  }
}

async function loadOlder(before) {
  if (!state.older) return;
  state.older = false;
  const { signal } = state.asked;
  const candles = await ask('/api/candles', { ...where(), limit: PAGE, before }, signal).catch(() => []);
  if (signal.aborted || candles.length === 0) return;
  chart.add(candles);
  state.older = candles.length === PAGE;
}

function drawHead() {
  const pair = state.key && pairs.get(state.key);
  if (!pair) return;
  const { token, base } = pairName(pair);
  const name = base ? `${token}/${base}` : token;
  if ($('pair-name').dataset.name !== name) {
    $('pair-name').dataset.name = name;
    $('pair-name').replaceChildren(token, ...(base ? [el('span', {}, ` / ${base}`)] : []));
  }
  say($('pair-address'), `${chain(pair.chain_id)}  ${shorten(pair.pair_address, 10, 8)}`);
  $('pair-address').title = pair.pair_address;
  const now = pair.price ?? chart.latest?.close;
  showPrice($('price'), now, 6);
  $('price').className = `price ${pair.change_24h > 0 ? 'up' : pair.change_24h < 0 ? 'down' : ''}`;
  const figures = [['24 h', change(pair.change_24h)], ['High', price(pair.high_24h)], ['Low', price(pair.low_24h)],
    ['Volume', `$${compact(pair.volume_24h)}`], ['Trades', integer(pair.count_24h)]];
  const list = $('figures');
  if (list.children.length !== figures.length) list.replaceChildren(...figures.map(([term]) => el('div', {}, el('dt', {}, term), el('dd', {}))));
  figures.forEach(([, text], at) => say(list.children[at].lastChild, text));
  list.children[0].lastChild.className = pair.change_24h > 0 ? 'up' : pair.change_24h < 0 ? 'down' : '';
  document.title = `${price(now)} ${name} · Kohort`;
}

const refreshPairs = every(10_000, async () => {
  try {
    pairs.set(await ask('/api/pairs'));
    forgetKnown();
    const follow = !state.settled && performance.now() < FOLLOW_MS && pairs.first !== state.key;
    if (pairs.first && (follow || !state.key || !pairs.get(state.key))) choose(pairs.first, state.interval);
    else if (state.key && !state.wanted) choose(state.key, state.interval);
    else if (state.key) { pairs.select(state.key); drawHead(); }
    else {
      say($('pair-name'), 'No pair yet');
      empty($('chart-empty'), 'No candles yet', 'The first trade draws the first one.');
    }
  } catch (error) { pairs.failed(error.message); }
});

// Pairs that were pushed and are not in the list yet. A push comes before the flush, so the list may not know the pair when it is
// asked: it is asked again, a few times, until it does.
const unknown = new Set();
const UNKNOWN_TRIES = 6;
let tries = 0;
let soon = 0;
function refreshPairsSoon(ms = 400) {
  soon ||= setTimeout(() => { soon = 0; refreshPairs(); }, ms);
}

function forgetKnown() {
  for (const key of unknown) if (pairs.get(key)) unknown.delete(key);
  if (unknown.size && (tries += 1) < UNKNOWN_TRIES) { refreshPairsSoon(1000); return; }
  unknown.clear();
  tries = 0;
}

const refreshGroups = every(1000, async () => {
  try {
    const [list, input] = await Promise.all([ask('/api/groups'), ask('/api/input')]);
    groups.input(input);
    const name = groups.list(list);
    if (!name) return;
    const [group, events] = await Promise.all([ask(`/api/groups/${encodeURIComponent(name)}`), ask('/api/events', { group: name, limit: 60 })]);
    groups.show(group);
    groups.timeline(events);
  } catch (error) { empty($('group-empty'), 'The groups did not come', error.message); }
});

let updatesBefore = 0;
setInterval(() => {
  say($('vital-rate'), `${integer((state.updates - updatesBefore) / 2)}/s`);
  updatesBefore = state.updates;
}, 2000);

$('intervals').append(...INTERVALS.map((interval) => el('button', { type: 'button', role: 'radio', onclick: () => state.key && wish(state.key, interval) }, interval)));
$('intervals').addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !state.key) return;
  const at = (INTERVALS.indexOf(state.interval) + step + INTERVALS.length) % INTERVALS.length;
  wish(state.key, INTERVALS[at]);
  $('intervals').children[at].focus();
});
document.addEventListener('keydown', (event) => {
  if (document.activeElement?.tagName === 'INPUT' || event.metaKey || event.ctrlKey || event.altKey) return;
  const interval = INTERVALS[Number(event.key) - 1];
  if (interval && state.key) wish(state.key, interval);
});
window.addEventListener('hashchange', () => { readHash(); if (state.key) choose(state.key, state.interval); });

readHash();
refreshPairs();
refreshGroups();
for (const ms of [1500, 4000, 8000]) setTimeout(refreshPairs, ms);
