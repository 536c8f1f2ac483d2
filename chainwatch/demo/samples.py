"""Invented documents in the shapes of the real ones, served on loopback: SAMPLE data of the demo.

The figures are random walks around round numbers, with a jolt on the days of the five crashes, so
that every report has something to show offline. They say nothing about any market.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from random import Random

FIRST = date(2019, 1, 1)
JOLTS = {
    date(2020, 3, 12): 4.0,
    date(2021, 5, 19): 2.0,
    date(2025, 10, 10): 1.5,
    date(2026, 1, 29): 1.0,
    date(2026, 2, 5): 2.0,
}
# Hours are made for the days around the crashes only.
HOURS_AROUND = 2
SOURCES = ("tether", "circle", "cboe", "nyfed", "fred", "treasury", "coinmetrics")
FRED_SERIES = "IORB,IOER"


def days(last: date) -> list[date]:
    """Every day up to the last."""
    return [FIRST + timedelta(days=n) for n in range((last - FIRST).days + 1)]


def walk(
    seed: str, last: date, *, level: float, step: float, jolt: float, decimals: int = 2
) -> dict[date, float]:
    """A series that wanders around a level by relative steps and jumps on the days of crashes."""
    chance = Random(f"chainwatch sample {seed}")
    series = {}
    value = level
    for day in days(last):
        value *= math.exp(chance.gauss(0, step) + 0.02 * math.log(level / value))
        value *= 1 + jolt * JOLTS.get(day, 0.0)
        series[day] = round(value, decimals)
    return series


def documents(today: date) -> dict[str, bytes]:
    """Every document by the path at which its source requests it."""
    last = today - timedelta(days=1)
    weekdays = [day for day in days(last) if day.weekday() < 5]
    vix = walk("vix", last, level=20, step=0.05, jolt=0.4)
    sofr = walk("sofr", last, level=3, step=0.01, jolt=0.01)
    yields = walk("dgs10", last, level=4, step=0.012, jolt=-0.03)
    mvrv = walk("mvrv", last, level=1.4, step=0.02, jolt=-0.08, decimals=4)
    split = date(2021, 7, 29)
    return {
        "/api/global/us_indices/daily_prices/VIX_History.csv": _csv(
            "DATE,OPEN,HIGH,LOW,CLOSE",
            (f"{d:%m/%d/%Y},{vix[d]},{vix[d]},{vix[d]},{vix[d]}" for d in weekdays),
        ),
        "/api/rates/secured/sofr/search.json": json.dumps(
            {
                "refRates": [
                    {"effectiveDate": str(d), "type": "SOFR", "percentRate": sofr[d]}
                    for d in weekdays
                ]
            }
        ).encode(),
        "/graph/fredgraph.csv?id=IORB": _csv(
            "observation_date,IORB", (f"{d},{_paid(sofr, d)}" for d in days(last) if d >= split)
        ),
        "/graph/fredgraph.csv?id=IOER": _csv(
            "observation_date,IOER", (f"{d},{_paid(sofr, d)}" for d in days(last) if d < split)
        ),
        "/resource-center/data-chart-center/interest-rates/pages/xml": _yields(
            {d: yields[d] for d in weekdays}
        ),
        "/v4/timeseries/asset-metrics": json.dumps(
            {
                "data": [
                    {"asset": "btc", "time": f"{d}T00:00:00.000000000Z", "CapMVRVCur": str(v)}
                    for d, v in mvrv.items()
                ]
            }
        ).encode(),
        "/transparency.json": _tether(last),
        "/transparency": _circle(last),
    }


def candles(today: date) -> dict[str, str]:
    """CSV files of BTC candles: days, and the hours around the crashes."""
    last = today - timedelta(days=1)
    closes = walk("btc", last, level=90_000, step=0.02, jolt=-0.06)
    chance = Random("chainwatch sample candles")
    daily = ["date,open,high,low,close"]
    hourly = ["date,time,open,high,low,close"]
    before = closes[FIRST]
    for day, close in closes.items():
        depth = 0.01 + 0.03 * JOLTS.get(day, 0.0)
        low = min(before, close) * (1 - depth * chance.uniform(0.5, 1))
        high = max(before, close) * (1 + 0.01 * chance.random())
        daily.append(f"{day},{before},{high:.2f},{low:.2f},{close}")
        if any(abs((day - crash).days) <= HOURS_AROUND for crash in JOLTS):
            hourly += _hours(day, before, high, low, close)
        before = close
    return {"btc_days.csv": "\n".join(daily) + "\n", "btc_hours.csv": "\n".join(hourly) + "\n"}


def _hours(day: date, first: float, high: float, low: float, last: float) -> Iterator[str]:
    """A day's hours: down to its low at 23:00, and from there to its close."""
    stations = [*(first + (low - first) * n / 23 for n in range(24)), last]
    for hour, (begin, end) in enumerate(pairwise(stations)):
        top = high if hour == 0 else max(begin, end)
        at = time(hour).isoformat("minutes")
        yield f"{day},{at},{begin:.2f},{top:.2f},{min(begin, end):.2f},{end:.2f}"


def _csv(header: str, lines: Iterator[str]) -> bytes:
    return ("\n".join([header, *lines]) + "\n").encode()


def _paid(sofr: Mapping[date, float], day: date) -> float:
    """A rate that follows SOFR's level in steps of a quarter."""
    return round(round(4 * sofr[date(day.year, (day.month - 1) // 3 * 3 + 1, 1)]) / 4, 2)


def _yields(values: Mapping[date, float]) -> bytes:
    space = "http://schemas.microsoft.com/ado/2007/08/dataservices"
    entries = "".join(
        "<entry><content><m:properties>"
        f"<d:NEW_DATE>{day}T00:00:00</d:NEW_DATE><d:BC_10YEAR>{value}</d:BC_10YEAR>"
        f"<d:BC_30YEAR>{value + 0.5:.2f}</d:BC_30YEAR></m:properties></content></entry>"
        for day, value in values.items()
    )
    return (
        f'<feed xmlns:d="{space}" xmlns:m="{space}/metadata" xmlns="http://www.w3.org/2005/Atom">'
        f"{entries}</feed>"
    ).encode()


def _tether(day: date) -> bytes:
    stamp = int(datetime.combine(day, time(23, 59), UTC).timestamp())
    chains = {"eth": ("Ethereum", 700, 20), "tron": ("Tron", 300, 5)}
    liabilities = sum(total - kept for _, total, kept in chains.values())
    totals = {
        "total_assets": str(liabilities + 30),
        "total_liabilities": str(liabilities),
        "shareholder_eq": "30",
    }
    data = {**totals, "id": stamp}
    for short, (_, total, kept) in chains.items():
        data |= {
            f"totaltokens_{short}": total,
            f"reserve_balance_{short}": kept,
            f"quarantined_{short}": 0,
        }
    shown = [
        {"name": name, "totalAuthorized": total, "notIssued": kept, "quarantined": 0}
        for name, total, kept in chains.values()
    ]
    listed = {**totals, "iso": "usdt", "id": stamp, "blockChains": shown}
    return json.dumps({"data": {"usdt": data}, "data_formatted": [listed]}).encode()


def _circle(day: date) -> bytes:
    return (
        f"<html><body><h6>As of {day:%b} {day.day}, {day.year}</h6>"
        '<span id="usdc-in-circulation" data-point="10.00"></span>'
        '<canvas id="usdc_chartjs_canvas" data-usdc-months="4.50" data-usdc-us-treasuries="4.00" '
        'data-usdc-cash="1.30" data-usdc-in-circulation="0.25"></canvas></body></html>'
    ).encode()


@contextlib.contextmanager
def serve(today: date) -> Iterator[str]:
    """The base URL of a server that has every document, alive inside the `with` block."""
    bodies = documents(today)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, bodies))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, bodies: Mapping[str, bytes], *arguments: object) -> None:
        self._bodies = bodies
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        body = self._bodies.get(self.path) or self._bodies.get(self.path.partition("?")[0])
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


def write_candles(folder: Path, today: date) -> list[Path]:
    """The candle files in a folder."""
    paths = []
    for name, text in candles(today).items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths
