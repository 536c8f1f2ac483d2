"""Charts of cascades as PNG, SVG or HTML: the only module that imports altair.

Every line differs in dash and end label as well as in shade, so that a grey print can be read.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainwatch.errors import ConfigError, UsageError, unwritable
from chainwatch.show.page import with_policy
from chainwatch.show.values import cell_text
from chainwatch.text import ScriptJson, visible
from chainwatch.units import UNITS, price_text

if TYPE_CHECKING:
    from chainwatch.reports.cascade import Drawing

ENDINGS = (".png", ".svg", ".html")
# The entries of a page's menu. To show its source it would write the chart's names into a new page
# without escaping them, and the editor is a third party's server.
ACTIONS = {"export": True, "source": False, "compiled": False, "editor": False}
WIDTH = 1_040  # with axes and labels about 1,200 pixels
HEIGHT = 270
# Column of landing_by_depth, words, dash and shade of its line.
LANDINGS: tuple[tuple[str, str, list[int], str], ...] = (
    ("price_no_impact", "no impact", [1, 0], "#000000"),
    ("price_full", "depth × 1", [14, 3], "#20476e"),
    ("price_stress", "depth × 0.63", [7, 4], "#3b6fa0"),
    ("price_tenth", "depth × 0.1", [10, 3, 2, 3], "#7a5c00"),
    ("price_fiftieth", "depth × 0.02", [2, 3], "#a33b20"),
)


def require(path: Path) -> None:
    """Raise UsageError where the file's ending is unknown, ConfigError without the extra."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"--chart: expected a file that ends in {', '.join(ENDINGS)}, got {path.name!r}"
        )
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--chart needs the extra `charts`: pip install 'chainwatch[charts]'"
        ) from None


def draw(drawing: Drawing, path: Path) -> None:
    """Write a chart of a factor's cascade; its ending decides the form.

    Raises UsageError where it cannot be written, StoreError where its disk is full.
    """
    made = _chart(drawing)
    try:
        if path.suffix.lower() == ".html":
            page = made.to_html(
                inline=True, json_kwds={"cls": ScriptJson}, embed_options={"actions": ACTIONS}
            )
            path.write_text(with_policy(page), encoding="utf-8")
        else:
            made.save(str(path), format=path.suffix.lower()[1:])
    except OSError as failure:
        raise unwritable(f"{path}", failure) from None


def _chart(drawing: Drawing) -> Any:
    import altair as alt

    low = min((row["price_from"] for row in drawing.wall), default=drawing.spot * 0.7)
    axis = alt.Scale(domain=[low, drawing.spot * 1.02], nice=False, zero=False)
    top = _wall(drawing, axis)
    bottom = _landings(drawing, axis)
    return (
        alt.vconcat(top, bottom, spacing=18)
        .properties(
            title=alt.TitleParams(
                f"{visible(drawing.factor)}: wall, break levels and where falls land",
                subtitle=[
                    part for line in drawing.header for part in textwrap.wrap(visible(line), 190)
                ],
                anchor="start",
                fontSize=18,
                subtitleFontSize=11,
            )
        )
        .configure(background="white", font="sans-serif")
        .configure_axis(labelFontSize=12, titleFontSize=13)
        .configure_legend(labelFontSize=12, titleFontSize=12)
    )


def _data(values: list[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def _wall(drawing: Drawing, axis: Any) -> Any:
    import altair as alt

    bars = [
        {
            "from": row["price_from"],
            "to": row["price_to"],
            "usd": row["round_seizable_usd"],
            "zero": 0,
        }
        for row in drawing.wall
    ]
    already = drawing.now["round_seizable_usd"]
    sums = [{"price": drawing.spot, "sum": already}] + [
        {"price": row["price_from"], "sum": already + row["cum_round_seizable_usd"]}
        for row in drawing.wall
    ]
    money = alt.Axis(format="~s")
    wall = (
        alt.Chart(_data(bars))
        .mark_rect(color="#b9c4cf", stroke="#5c6b7a", strokeWidth=0.7)
        .encode(
            x=alt.X("from:Q", scale=axis, title=None, axis=alt.Axis(format=",~r")),
            x2="to:Q",
            y=alt.Y("zero:Q", title="seizable USD per bin (bars)", axis=money),
            y2="usd:Q",
        )
    )
    total = (
        alt.Chart(_data(sums))
        .mark_line(color="#222222", strokeWidth=2)
        .encode(
            x=alt.X("price:Q", scale=axis),
            y=alt.Y(
                "sum:Q",
                title="sum from now down (line)",
                axis=alt.Axis(orient="right", format="~s", grid=False),
            ),
        )
    )
    marks = [*_now(drawing, axis), *_breaks(drawing, axis), *_today(drawing, axis)]
    return (
        alt.layer(alt.layer(wall, *marks), total)
        .resolve_scale(y="independent")
        .properties(width=WIDTH, height=HEIGHT)
    )


def _now(drawing: Drawing, axis: Any) -> list[Any]:
    """A bar right of today's price for what is liquidatable already, with its USD; none for 0."""
    import altair as alt

    usd = drawing.now["round_seizable_usd"]
    if not usd:
        return []
    words = f"liquidatable now: {cell_text(UNITS['usd'], usd)} USD"
    bar = {"from": drawing.spot, "to": drawing.spot * 1.01, "usd": usd, "zero": 0, "words": words}
    data = _data([bar])
    return [
        alt.Chart(data)
        .mark_rect(color="#a33b20", opacity=0.8, stroke="#5c2a1a", strokeWidth=0.7)
        .encode(x=alt.X("from:Q", scale=axis), x2="to:Q", y="zero:Q", y2="usd:Q"),
        alt.Chart(data)
        .mark_text(align="right", dx=-18, fontSize=12, color="#8c2f17")
        .encode(x=alt.X("from:Q", scale=axis), y=alt.value(HEIGHT * 0.2), text="words:N"),
    ]


def _breaks(drawing: Drawing, axis: Any) -> list[Any]:
    """A rule for the break level with most USD at each depth, each with its label in a row."""
    import altair as alt

    largest: dict[str, dict[str, Any]] = {}
    for row in drawing.levels:
        if row["depth"] not in largest or row["usd"] > largest[row["depth"]]["usd"]:
            largest[row["depth"]] = row
    layers = []
    dashes = {label.removeprefix("depth "): dash for _, label, dash, _ in LANDINGS}
    side = alt.X("side:Q", scale=axis)
    leftmost = min((row["break_price"] for row in largest.values()), default=drawing.spot)
    for n, (depth, row) in enumerate(largest.items()):
        words = f"break {price_text(row['break_price'])} (depth {depth})"
        data = _data([{"price": row["break_price"], "words": words, "side": leftmost}])
        layers.append(
            alt.Chart(data)
            .mark_rule(color="#a33b20", strokeWidth=1.6, strokeDash=dashes.get(depth, [6, 3]))
            .encode(x=alt.X("price:Q", scale=axis))
        )
        # Labels left of all rules, one row each, with a halo where they cross a line.
        for halo in (True, False):
            stroke: dict[str, Any] = {"stroke": "white", "strokeWidth": 4} if halo else {}
            layers.append(
                alt.Chart(data)
                .mark_text(align="right", dx=-6, fontSize=12, color="#8c2f17", **stroke)
                .encode(x=side, y=alt.value(HEIGHT * 0.3 + 17 * n), text="words:N")
            )
    return layers


def _today(drawing: Drawing, axis: Any) -> list[Any]:
    import altair as alt

    data = _data([{"price": drawing.spot, "words": f"today {price_text(drawing.spot)}"}])
    x = alt.X("price:Q", scale=axis)
    return [
        alt.Chart(data).mark_rule(color="black", strokeWidth=2).encode(x=x),
        alt.Chart(data)
        .mark_text(angle=270, align="right", dx=-4, dy=12, fontSize=12, fontWeight="bold")
        .encode(x=x, y=alt.value(4), text="words:N"),
    ]


def _landings(drawing: Drawing, axis: Any) -> Any:
    import altair as alt

    y = alt.Y(
        "landing:Q",
        title="landing price (MODEL)",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(format=",~r"),
    )
    x = alt.X(
        "outside:Q",
        scale=axis,
        title=f"outside price of {visible(drawing.factor)} (above: traded price)",
        axis=alt.Axis(format=",~r"),
    )
    ends = [{"outside": row["outside_price"]} for row in drawing.band]
    area = [
        {**end, "landing": row["price_full"], "low": row["price_fiftieth"]}
        for end, row in zip(ends, drawing.band, strict=True)
    ]
    layers = [
        alt.Chart(_data(area)).mark_area(color="#d9dee3", opacity=0.7).encode(x=x, y=y, y2="low:Q")
    ]
    for n, (column, label, dash, shade) in enumerate(LANDINGS):
        points = [{"outside": drawing.spot, "landing": drawing.spot}]
        points += [
            {**end, "landing": row[column]} for end, row in zip(ends, drawing.band, strict=True)
        ]
        layers.append(
            alt.Chart(_data(points))
            .mark_line(color=shade, strokeWidth=2.2, strokeDash=dash)
            .encode(x=x, y=y)
        )
        # The key in the empty corner above the lines, in their order from top to bottom.
        top = 14 + 19 * n
        key = alt.Chart(_data([{"words": label}]))
        layers += [
            key.mark_rule(color=shade, strokeWidth=2.2, strokeDash=dash).encode(
                x=alt.value(16), x2=alt.value(76), y=alt.value(top)
            ),
            key.mark_text(align="left", fontSize=12).encode(
                x=alt.value(84), y=alt.value(top), text="words:N"
            ),
        ]
    return alt.layer(*layers, *_today(drawing, axis)).properties(width=WIDTH, height=HEIGHT)
