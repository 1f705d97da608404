// The server's two voices: questions by HTTP, changes by WebSocket. Knows nothing of what is drawn.

/** Asks for JSON; an answer that is no success becomes an Error with the server's own words. */
export async function ask(path, params = {}, signal = undefined) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined));
  const response = await fetch(query.size ? `${path}?${query}` : path, { signal, headers: { accept: 'application/json' } });
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error ?? `the server answered ${response.status}`);
  }
  return response.json();
}

const key = (wanted) => `${wanted.chain ?? ''}|${wanted.pair ?? ''}|${wanted.interval ?? ''}`;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 8000;

/**
 * A WebSocket that returns. What was subscribed is subscribed again; `onState('live')` after a loss is the moment to
 * ask anew for what was missed.
 */
export class Live {
  #socket = null;
  #wanted = new Map();
  #retryMs = RETRY_MS_MIN;
  #timer = 0;

  constructor({ onCandles, onState }) {
    this.onCandles = onCandles;
    this.onState = onState;
    window.addEventListener('online', () => this.#now());
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#now(); });
    this.#connect();
  }

  subscribe(wanted) {
    this.#wanted.set(key(wanted), wanted);
    this.#send({ op: 'subscribe', ...wanted });
  }

  unsubscribe(wanted) {
    if (this.#wanted.delete(key(wanted))) this.#send({ op: 'unsubscribe', ...wanted });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  // Somebody looks again, or the network is back: do not wait out a long pause.
  #now() {
    if (this.#socket === null) {
      clearTimeout(this.#timer);
      this.#connect();
    }
  }

  #connect() {
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`);
    this.#socket = socket;
    socket.onopen = () => {
      this.#retryMs = RETRY_MS_MIN;
      for (const wanted of this.#wanted.values()) this.#send({ op: 'subscribe', ...wanted });
      this.onState('live');
    };
    socket.onmessage = ({ data }) => {
      let frame;
      try { frame = JSON.parse(data); } catch { return; }
      const candles = (Array.isArray(frame) ? frame : [frame]).filter((item) => item.type === 'candle');
      if (candles.length) this.onCandles(candles);
    };
    socket.onclose = () => {
      this.#socket = null;
      const wait = this.#retryMs * (0.75 + Math.random() / 2);
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
      this.onState('lost', wait);
      this.#timer = setTimeout(() => this.#connect(), wait);
    };
  }
}

/** Calls `work` every `ms` while the page is seen, never twice at a time. */
export function every(ms, work) {
  let busy = false;
  const tick = async () => {
    if (busy || document.hidden) return;
    busy = true;
    try { await work(); } finally { busy = false; }
  };
  document.addEventListener('visibilitychange', tick);
  setInterval(tick, ms);
  return tick;
}
