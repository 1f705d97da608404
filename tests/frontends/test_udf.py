"""TradingView's data feed, asked under node as the charting library's adapter asks it."""
import json
import pathlib
import subprocess

from conftest import assert_bars

RESOLUTIONS = {"1": "1m", "5": "5m", "15": "15m", "60": "1h", "240": "4h", "720": "12h", "1D": "1d"}


def chart(url, symbol, resolution):
    script = pathlib.Path(__file__).with_name("udf.mjs")
    done = subprocess.run(["node", str(script), url, symbol, resolution], capture_output=True, text=True, timeout=300)
    return done, json.loads(done.stdout) if done.returncode == 0 else None


def test_a_chart_goes_back_to_the_first_bar(platform, history):
    for pair in history.pairs:
        for resolution, interval in RESOLUTIONS.items():
            # The adapter is given either address.
            for root in ("", "/udf") if resolution == "60" else ("",):
                done, told = chart(platform.market + root, f"1:{pair.upper()}", resolution)
                assert told, done.stderr
                assert told["info"]["ticker"] == f"1:{pair}"
                assert told["found"][0]["ticker"] == f"1:{pair}"
                candles = history.candles[pair, interval]
                bars = [(bar["time"], [bar[price] for price in ("open", "high", "low", "close")], None, bar["volume"], None)
                        for bar in told["bars"]]
                assert_bars(bars, candles, exact=False)
                assert len(bars) == len(candles), "no bars without trades unless they are asked for"
                assert told["last"] == told["bars"][-2:]


def test_a_symbol_that_nobody_knows_is_refused_as_the_adapter_expects(platform, history):
    done, _ = chart(platform.market, "1:nobody", "60")
    assert done.returncode != 0 and "the symbol is refused: unknown_symbol" in done.stderr
