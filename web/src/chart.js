// Candles and volume of one pair and interval, on TradingView's Lightweight Charts.

import { CandlestickSeries, ColorType, createChart, CrosshairMode, HistogramSeries } from '/vendor/lightweight-charts.mjs';
import { compact, integer, price } from './format.js';
import { $, css, el, say } from './dom.js';

export class Chart {
  #bars = new Map();
  #latest = 0;
  #hovered = null;

  constructor(onOlder) {
    this.onOlder = onOlder;
    this.host = $('chart');
    this.up = css('--up');
    this.down = css('--down');
    this.chart = createChart(this.host, {
      autoSize: true,
      layout: {
        background: { type: ColorType.Solid, color: css('--panel') }, textColor: css('--soft'), fontSize: 11,
        fontFamily: getComputedStyle(document.body).fontFamily, attributionLogo: true,
      },
      grid: { vertLines: { color: '#151a22' }, horzLines: { color: '#151a22' } },
      crosshair: { mode: CrosshairMode.Normal, vertLine: { color: '#3a4454', labelBackgroundColor: '#2a323f' }, horzLine: { color: '#3a4454', labelBackgroundColor: '#2a323f' } },
      timeScale: { timeVisible: true, secondsVisible: false, borderColor: css('--line'), rightOffset: 6, barSpacing: 7, minBarSpacing: 1 },
      rightPriceScale: { borderColor: css('--line'), scaleMargins: { top: 0.1, bottom: 0.24 } },
      localization: { priceFormatter: (value) => price(value) },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, {
      upColor: this.up, downColor: this.down, wickUpColor: this.up, wickDownColor: this.down, borderVisible: false,
      priceLineColor: css('--faint'), priceFormat: priceFormat(1),
      autoscaleInfoProvider: (whole) => this.#scale(whole()),
    });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: 'volume', lastValueVisible: false, priceLineVisible: false,
      priceFormat: { type: 'custom', minMove: 0.01, formatter: (value) => compact(value) },
    });
    this.chart.priceScale('volume').applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.chart.subscribeCrosshairMove((at) => { this.#hovered = at.time ?? null; this.#legend(); });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < 20 && this.#bars.size) this.onOlder(Math.min(...this.#bars.keys()));
    });
  }

  get size() { return this.#bars.size; }
  get latest() { return this.#bars.get(this.#latest); }

  /** Draws these candles and no others. */
  show(candles) {
    this.#bars = new Map(candles.map((candle) => [candle.candle_time, candle]));
    this.#redraw();
    const timeScale = this.chart.timeScale();
    this.candles.applyOptions({ priceFormat: priceFormat(this.latest?.close ?? 1) });
    this.candles.priceScale().applyOptions({ autoScale: true });
    timeScale.setVisibleLogicalRange({ from: this.#bars.size - Math.min(140, Math.max(this.#bars.size, 40)), to: this.#bars.size + 5 });
  }

  /** Puts older (or missed) candles among those drawn; what is seen stays where it is. */
  add(candles) {
    for (const candle of candles) this.#bars.set(candle.candle_time, candle);
    this.#redraw();
  }

  /** One candle changed, the newest or one of the past. */
  update(candle) {
    const past = candle.candle_time < this.#latest;
    const isNew = !this.#bars.has(candle.candle_time);
    this.#bars.set(candle.candle_time, candle);
    if (past && isNew) {
      this.#redraw(); // The chart cannot put a bar between two others.
    } else {
      this.candles.update(this.#bar(candle), past);
      this.volume.update(this.#column(candle), past);
      this.#latest = Math.max(this.#latest, candle.candle_time);
    }
    this.host.dataset.bars = this.#bars.size;
    this.host.dataset.updates = Number(this.host.dataset.updates ?? 0) + 1;
    this.host.dataset.close = this.latest.close;
    this.#legend();
  }

  #redraw() {
    const sorted = [...this.#bars.values()].sort((a, b) => a.candle_time - b.candle_time);
    this.#latest = sorted.at(-1)?.candle_time ?? 0;
    this.candles.setData(sorted.map((candle) => this.#bar(candle)));
    this.volume.setData(sorted.map((candle) => this.#column(candle)));
    // What the browser tests and whoever scripts the page may read.
    this.host.dataset.bars = sorted.length;
    this.host.dataset.close = sorted.at(-1)?.close ?? '';
    this.#legend();
  }

  /**
   * The prices that the axis shows. Dust trades make wicks a thousand times the price; they are drawn to the edge, and told
   * whole in the legend, but do not press everything else flat.
   */
  #scale(whole) {
    const range = this.chart.timeScale().getVisibleRange();
    if (!whole?.priceRange || !range) return whole;
    const seen = [...this.#bars.values()].filter((bar) => bar.candle_time >= range.from && bar.candle_time <= range.to);
    if (seen.length === 0) return whole;
    const low = Math.min(...seen.map((bar) => Math.min(bar.open, bar.close)));
    const high = Math.max(...seen.map((bar) => Math.max(bar.open, bar.close)));
    const room = Math.max((high - low) * 0.5, high * 0.005);
    const { minValue, maxValue } = whole.priceRange;
    return { ...whole, priceRange: { minValue: Math.max(minValue, low - room), maxValue: Math.min(maxValue, high + room) } };
  }

  #bar(candle) {
    return { time: candle.candle_time, open: candle.open, high: candle.high, low: candle.low, close: candle.close };
  }

  #column(candle) {
    const color = candle.close >= candle.open ? this.up : this.down;
    return { time: candle.candle_time, value: candle.volume, color: `${color}55` };
  }

  #legend() {
    const candle = this.#bars.get(this.#hovered) ?? this.latest;
    const legend = $('legend');
    if (!candle) { say(legend, ''); return; }
    const parts = [['O', price(candle.open)], ['H', price(candle.high)], ['L', price(candle.low)], ['C', price(candle.close)],
      ['Vol', `$${compact(candle.volume)}`], ['Trades', integer(candle.count)]];
    legend.replaceChildren(...parts.map(([name, text]) => el('span', {}, `${name} `, el('b', {}, text))));
  }
}

/** Steps for the axis that suit prices of this size: a fixed step would hide 1e-12 or blur 1e6. */
function priceFormat(size) {
  const places = Math.min(Math.max(6 - Math.floor(Math.log10(Math.abs(size) || 1)), 2), 22);
  // `base` is exact where 1 / minMove is not: powers of ten up to 10^22 are doubles.
  return { type: 'custom', minMove: 10 ** -places, base: 10 ** places, formatter: (value) => price(value) };
}
