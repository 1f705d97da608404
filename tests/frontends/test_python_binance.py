"""python-binance, which believes that it talks to Binance."""
import asyncio
import time
from decimal import Decimal

from binance import AsyncClient, BinanceSocketManager, Client
from binance.exceptions import BinanceAPIException
import pytest

from conftest import INTERVALS, PATIENCE_S, Reference, assert_bars

DAY_MS = 86_400_000
LIVE = "cex_binance_20240808"


class Ours(Client):
    """Its own client at another address: it asks `ping` first, as always."""

    def __init__(self, url):
        self.API_URL = url + "/api"
        super().__init__()


def bar(row):
    open_time, *prices, tokens, close_time, usd, trades, bought, bought_usd, _ = row
    assert close_time > open_time and (bought, bought_usd) == ("0", "0")
    return open_time // 1000, [Decimal(price) for price in prices], Decimal(tokens), Decimal(usd), trades


def test_history_is_paged_back_to_the_first_trade(platform, history):
    client = Ours(platform.market)
    for pair in history.pairs:
        for interval in INTERVALS:
            candles = history.candles[pair, interval]
            first, last = min(candles) * 1000, max(candles) * 1000
            rows = client.get_historical_klines(f"1:{pair}", interval, first - DAY_MS, last + 60_000)
            if interval == "1m":
                assert len(rows) > 1000, "more than one page"
            assert_bars([bar(row) for row in rows], candles)
            assert rows[0][0] == first, "nothing before the first trade"


def test_the_latest_bars_and_what_is_wrong(platform, history):
    client = Ours(platform.market)
    rows = client.get_klines(symbol=f"1:{history.pairs[0]}", interval="1h", limit=3)
    assert len(rows) == 3
    with pytest.raises(BinanceAPIException) as wrong:
        client.get_klines(symbol="1:nobody", interval="1h")
    assert (wrong.value.code, wrong.value.message) == (-1121, "Invalid symbol.")
    assert abs(client.get_server_time()["serverTime"] - time.time() * 1000) < 600_000


def test_streams_tell_the_last_state_of_each_candle(platform):
    """Single and combined streams, open before the first trade, while 78,638 trades come at full speed."""
    asyncio.run(follow(platform, Reference(LIVE)))


async def follow(platform, reference):
    pair = reference.pairs[0]
    AsyncClient.API_URL = platform.market + "/api"
    client = await AsyncClient.create()
    sockets = BinanceSocketManager(client)
    sockets.STREAM_URL = platform.dataflow.replace("http://", "ws://") + "/"
    symbol = f"{reference.chain_id}:{pair}"
    single = sockets.kline_socket(symbol, "1m")
    names = [f"{symbol.lower()}@kline_{interval}" for interval in ("5m", "1h")]
    combined = sockets.multiplex_socket(names)
    told = {}

    async def read(socket, entered):
        async with socket as stream:
            entered.set()
            while True:
                event = await stream.recv()
                event = event.get("data", event)
                assert event["e"] == "kline" and event["s"] == symbol.upper(), event
                kline = event["k"]
                told[kline["i"], kline["t"] // 1000] = (
                    [Decimal(kline[name]) for name in "ohlc"], Decimal(kline["v"]), Decimal(kline["q"]), kline["n"])

    def missing():
        for interval in ("1m", "5m", "1h"):
            for at, candle in reference.candles[pair, interval].items():
                if told.get((interval, at)) != (candle.prices, candle.tokens, candle.usd, candle.trades):
                    yield interval, at

    entered = [asyncio.Event(), asyncio.Event()]
    readers = [asyncio.create_task(read(socket, event)) for socket, event in zip((single, combined), entered)]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in entered)), PATIENCE_S)
        await asyncio.to_thread(platform.replay, LIVE, "live")
        end = time.monotonic() + PATIENCE_S
        while first := next(missing(), None):
            for reader in readers:
                assert not reader.done(), reader.exception()
            assert time.monotonic() < end, f"{len(list(missing()))} candles are not told as they are, {first} as {told.get(first)}"
            await asyncio.sleep(0.1)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await client.close_connection()
