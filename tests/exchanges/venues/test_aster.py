"""Aster: Binance's frames, raw or of a combined stream, on its own addresses."""

from chainwatch.exchanges.venues import aster, binance
from tests.exchanges.venues.test_binance import BinanceUsdm
from tests.venues.fixtures import check_figures, messages, rows


def test_sides_sizes_and_values() -> None:
    check_figures(
        rows("aster"),
        [
            ("ASTERUSDT", "long", 1_500.0, 1_500.0, 0.92, 1_380.0, 1_380.0),
            ("ASTERUSDT", "short", 200.0, 200.0, 0.95, 190.0, 190.0),
        ],
    )
    assert {row.venue for row in rows("aster")} == {"aster"}


def test_the_protocol_is_binances_and_nothing_else_is() -> None:
    assert messages("aster")[0].acked == ("1",)
    assert messages("aster")[1].heartbeat
    assert "unknown stream" in messages("aster")[-1].refused
    assert aster.ASTER.ws != binance.USDM.ws
    assert aster.ASTER.sampling_class == "unknown"


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


LOOPBACK = {"aster": BinanceUsdm()}
