"""Made trades, and the candles that plain decimals make of them. See README.md."""
import decimal
import json
import pathlib
import random
import sys
from decimal import Decimal

decimal.getcontext().prec = 200
INTERVALS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "12h": 43200, "1d": 86400}
HEADER = ("chain,pair_addr,interval,candle_time,open,high,low,close,volume_usd,token_volume,count,buy_count,sell_count,open_at,close_at,"
          "clamped_only")
CHAINS = [("sol", "100000"), ("eth", "1"), ("bsc", "56"), ("base", "8453"), ("cex", "0")]


class Written(str):
    """A JSON number as it is to be written."""


def number(r, largest=12):
    """A positive number in one of its spellings: never more than 17 digits, as a float64 has."""
    digits = str(r.randrange(1, 10 ** r.randrange(1, 18)))
    form = r.randrange(6)
    if form == 0:
        return digits[:largest]
    if form == 1:
        return "0." + "0" * r.randrange(0, 12) + digits
    if form == 2:
        whole, rest = digits[: r.randrange(1, len(digits) + 1)][:largest], digits[-r.randrange(1, len(digits) + 1):]
        return f"{whole}.{rest}"
    if form == 3:
        return f"{digits[0]}.{digits[1:] or 0}{r.choice('eE')}-{r.randrange(1, 16)}"
    if form == 4:
        return f"{digits[0]}{r.choice(['e', 'e+', 'E'])}{r.randrange(0, largest)}"
    return digits[:largest] + "." + "0" * r.randrange(1, 4)


def trade(r, chain, chain_id, pairs, block, time, index):
    value = lambda text: text if chain in ("eth", "base") and r.random() < 0.4 else Written(text)
    t = {"chain": chain, "chain_id": chain_id, "pair_addr": r.choice(pairs), "tx_hash": f"{block:x}{index:x}", "maker": "w" + str(r.randrange(9))}
    kind = r.choices(["buy", "sell", "add_position", "remove_position", "swap", None], [40, 40, 4, 4, 2, 10])[0]
    if kind:
        t["type"] = kind
    price = r.choices([number(r), "0", "0.000", None], [92, 3, 2, 3])[0]
    if price is not None:
        t["token_price_usd"] = value(price)
    for field, missing in (("total_usd", 0.05), ("token_amount", 0.05), ("base_token_amount", 0.5)):
        if r.random() > missing:
            t[field] = value(r.choices([number(r), "0"], [95, 5])[0])
    t["block_time"] = Written(str(time) if r.random() < 0.9 else f"{time}.0" if r.random() < 0.5 else f"{time}")
    if chain == "sol":
        t["slot"] = block
    elif chain != "cex":
        t["block_num"] = block
    if chain != "cex":
        # Often equal: then the place in the file decides.
        if r.random() < 0.9:
            t["transaction_index"] = r.randrange(4)
        if r.random() < 0.8:
            t["log_index"] = r.randrange(3)
    if r.random() < 0.15:
        t["clamp"] = r.random() < 0.8
    if r.random() < 0.3:
        t["pair_info"] = {"token_symbol": r.choice(["A", "\"x\"", "漢"]), "name": "{[,]}\\\"", "nested": {"type": "sell", "clamp": True}}
    if r.random() < 0.1:
        t["unknown"] = [1, {"token_price_usd": 7}, None, "]}"]
    fields = list(t.items())
    r.shuffle(fields)
    return dict(fields)


def text(value):
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{text(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def made(seed):
    r = random.Random(seed)
    lines, begin = [], 1_700_000_000 + r.randrange(10_000_000)
    for chain, chain_id in r.sample(CHAINS, r.randrange(1, len(CHAINS) + 1)):
        pairs = [f"{chain}-pair-{n}" for n in range(r.randrange(1, 6))]
        time, block = begin, r.randrange(1, 1 << 40)
        blocks = []
        for _ in range(r.randrange(30, 200)):
            time += r.choice([1, 1, 12, 59, 600, 7000])
            block += r.randrange(1, 3)
            blocks.append([trade(r, chain, chain_id, pairs, block, time, n) for n in range(r.choice([1, 1, 2, 5, 40]))])
        if r.random() < 0.5:
            r.shuffle(blocks)
        lines += [t for b in blocks for t in b]
    return lines


def order(at, t):
    whole = lambda name: int(Decimal(str(t.get(name, 0))))
    block = whole("block_num") or whole("slot")
    return (whole("block_time"), block, whole("transaction_index"), whole("log_index"), at)


def plain(d):
    out = format(d, "f")
    return (out.rstrip("0").rstrip(".") if "." in out else out) or "0"


def candles(trades):
    groups = {}
    for at, t in enumerate(trades):
        price = Decimal(str(t.get("token_price_usd", 0)))
        if t.get("type") in ("add_position", "remove_position") or price == 0:
            continue
        for name, seconds in INTERVALS.items():
            time = order(at, t)[0] // seconds * seconds
            groups.setdefault((t["chain"], t["pair_addr"], name, time), []).append((order(at, t), price, t))
    for key, group in sorted(groups.items()):
        group.sort(key=lambda one: one[0])
        free = [one for one in group if not one[2].get("clamp")]
        priced = free or group
        total = lambda name: plain(sum((Decimal(str(t.get(name, 0))) for _, _, t in group), Decimal(0)))
        side = lambda kind: sum(t.get("type") == kind for _, _, t in group)
        prices = [price for _, price, _ in priced]
        yield [*key, plain(prices[0]), plain(max(prices)), plain(min(prices)), plain(prices[-1]), total("total_usd"), total("token_amount"),
               len(group), side("buy"), side("sell"), priced[0][0][0], priced[-1][0][0], int(not free)]


def main(seed, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trades = made(int(seed))
    (folder / "trades.jsonl").write_text("".join(text(t) + "\n" for t in trades))
    rows = [",".join(map(str, row)) for row in candles(trades)]
    (folder / "candles.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    print(f"seed {seed}: {len(trades)} trades, {len(rows)} candles")


if __name__ == "__main__":
    main(*sys.argv[1:])
