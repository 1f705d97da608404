// A TradingView data feed as the charting library's adapter asks it (the UDF protocol's documentation, "Datafeed API" over HTTP):
// configuration, a symbol, a search, history in pages back to the first bar, then the last two bars as a poll asks for them.
//
//   node udf.mjs URL SYMBOL RESOLUTION [UNTIL]      prints {"info", "found", "bars", "last"} as JSON

const [url, name, resolution, until] = process.argv.slice(2);
const PERIODS = 300;

async function ask(path, query = {}) {
  const answer = await fetch(`${url}/${path}?${new URLSearchParams(query)}`);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}

async function json(path, query) {
  return (await ask(path, query)).json();
}

function need(holds, what) {
  if (!holds) throw new Error(what);
}

const config = await json('config');
need(config.supports_search || config.supports_group_request, 'neither search nor group requests: the adapter refuses such a feed');
need(config.supported_resolutions.includes(resolution), `${resolution} is not among ${config.supported_resolutions}`);
if (config.supports_time) need(Number.isInteger(Number(await (await ask('time')).text())), 'the time is no whole number');

const info = await json('symbols', { symbol: name });
need(info.s === undefined, `the symbol is refused: ${info.errmsg}`);
for (const field of ['name', 'ticker', 'description', 'type', 'session', 'timezone', 'minmov', 'pricescale']) {
  need(info[field] !== undefined, `the symbol has no ${field}`);
}
// The library draws prices in steps of minmov / pricescale.
need(info.minmov > 0 && info.pricescale >= 1, 'a price step that cannot be');
const found = await json('search', { query: info.ticker, type: '', exchange: '', limit: 30 });

function bars(answer) {
  need(['ok', 'no_data'].includes(answer.s), `history: ${answer.errmsg ?? JSON.stringify(answer)}`);
  if (answer.s === 'no_data') return [];
  return answer.t.map((t, at) => ({
    time: t, open: Number(answer.o[at]), high: Number(answer.h[at]), low: Number(answer.l[at]), close: Number(answer.c[at]),
    volume: answer.v === undefined ? null : Number(answer.v[at]),
  }));
}

const seconds = { 1: 60, 5: 300, 15: 900, 60: 3600, 240: 14400, 720: 43200, '1D': 86400 }[resolution];
need(seconds, `no length is known of ${resolution}`);
let to = Number(until ?? Math.floor(Date.now() / 1000));
let all = [];
for (;;) {
  const answer = await json('history', { symbol: info.ticker, resolution, from: to - PERIODS * seconds, to, countback: PERIODS });
  const page = bars(answer);
  if (page.length === 0) {
    // The adapter goes on where the feed says that the next bars are; without that word history is over.
    if (answer.nextTime === undefined) break;
    to = answer.nextTime + 1;
    continue;
  }
  need(page.every((bar, at) => at === 0 || page[at - 1].time < bar.time), 'bars are not in order');
  need(page.at(-1).time < to, 'a bar that was not asked for');
  all = [...page, ...all];
  to = page[0].time;
}
const now = all.at(-1).time + seconds;
const last = bars(await json('history', { symbol: info.ticker, resolution, from: now - 10 * seconds, to: now, countback: 2 }));
process.stdout.write(JSON.stringify({ info, found, bars: all, last }));
