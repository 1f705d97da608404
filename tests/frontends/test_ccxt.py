"""ccxt's `binance`, which trading bots stand on."""
import ccxt

from conftest import INTERVALS, assert_bars


def exchange(url, pair):
    binance = ccxt.binance()
    binance.urls["api"]["public"] = url + "/api/v3"
    # Its list of markets is another question, which Market does not answer: the market is given, as ccxt allows.
    market = {"id": f"1:{pair}", "symbol": "TOKEN/USD", "base": "TOKEN", "quote": "USD", "spot": True, "type": "spot",
              "active": True, "linear": None, "inverse": None, "contract": False, "option": False, "swap": False, "future": False}
    binance.set_markets([market])
    return binance


def test_history_is_paged_as_bots_do(platform, history):
    for pair in history.pairs:
        binance = exchange(platform.market, pair)
        for interval in INTERVALS:
            candles = history.candles[pair, interval]
            since, end, rows = min(candles) * 1000, max(candles) * 1000, []
            while since <= end:
                page = binance.fetch_ohlcv("TOKEN/USD", interval, since=since, limit=500)
                assert page, f"nothing from {since} on"
                rows += [row for row in page if row[0] <= end]
                since = page[-1][0] + 1
            bars = [(row[0] // 1000, row[1:5], row[5], None, None) for row in rows]
            assert_bars(bars, candles, exact=False)
