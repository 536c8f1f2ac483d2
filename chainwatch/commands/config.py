"""`config` and `sources`: the settings in force, and what can be collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainwatch.commands.app import app, setup
from chainwatch.commands.options import Output, listing

if TYPE_CHECKING:
    from chainwatch.settings import Settings


@app.command(epilog="Example: chainwatch sources")
@listing
def sources(*, output: Output) -> None:
    """List the sources that can be collected."""
    from chainwatch.collect.registry import discover
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    rows = [(s.name, s.mode, s.summary, s.docs) for s in discover().values()]
    kinds = ("VARCHAR",) * 4
    output.emit(
        Report(Result(("source", "mode", "reads", "documentation"), kinds, rows), "sources")
    )


@app.command(epilog="Example: chainwatch config")
@listing
def config(*, output: Output) -> None:
    """Show every setting and where it came from."""
    from chainwatch.collect.registry import discover
    from chainwatch.lake.engine import Result
    from chainwatch.net.urls import mask
    from chainwatch.settings import FEED_SETTINGS, RPC_SETTING, SETTINGS, URL_SETTING
    from chainwatch.show.document import Report

    settings = setup().settings
    effective = {
        "home": str(settings.home),
        "cache": str(settings.cache),
        "markets": str(settings.markets),
        "tokens": str(settings.tokens),
        "timeout": f"{settings.timeout:g}",
        "webhook": _masked(settings, "webhook"),
        "notify": _masked(settings, "notify"),
        "ca_file": str(settings.ca_file or "none"),
    }
    rows = []
    for setting in SETTINGS:
        found = settings.get(setting.name)
        origin = found.origin if found else "default"
        rows.append((setting.env, effective[setting.name], origin, setting.meaning))
    for chain in settings.rpc_chains():
        found = settings.rpc_urls(chain)
        if found is not None:
            masked = ", ".join(mask(u.strip()) for u in found.value.split(",") if u.strip())
            rows.append((f"CHAINWATCH_RPC_{chain.upper()}", masked, found.origin, ""))
    rows.append(("CHAINWATCH_RPC_<CHAIN>", "", "default", RPC_SETTING.meaning))
    for source in discover().values():
        base_of = source.base or source.rest
        if base_of:
            name = f"url_{source.name}".replace("-", "_")
            base = settings.url(source.name, base_of)
            rows.append((f"CHAINWATCH_{name.upper()}", base.shown or "off", base.origin, ""))
    rows.append(("CHAINWATCH_URL_<SOURCE>", "", "default", URL_SETTING.meaning))
    for name in settings.feed_urls():
        found = settings.get(name)
        if found is not None:
            rows.append((f"CHAINWATCH_{name.upper()}", mask(found.value), found.origin, ""))
    for setting in FEED_SETTINGS:
        rows.append((setting.env, "", "default", setting.meaning))
    kinds = ("VARCHAR",) * 4
    output.emit(Report(Result(("setting", "value", "origin", "meaning"), kinds, rows), "config"))


def _masked(settings: Settings, name: str) -> str:
    from chainwatch.net.urls import mask

    found = settings.get(name)
    return " ".join(mask(url) for url in found.value.split()) if found else "none"
