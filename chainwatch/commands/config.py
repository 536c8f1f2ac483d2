"""`config` and `sources`: the settings in force, and what can be collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainwatch.settings import Setting, Settings

Row = tuple[str, str, str, str]


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
    from chainwatch.lake.engine import Result
    from chainwatch.settings import CCXT_SETTING, RPC_SETTING, URL_SETTING, WS_SETTING
    from chainwatch.show.document import Report

    settings = get_session().settings
    rows = [
        *_plain_settings(settings),
        *_endpoints(settings),
        _description(RPC_SETTING),
        *_base_urls(settings),
        _description(URL_SETTING),
        *_feed_urls(settings),
        _description(WS_SETTING),
        _description(CCXT_SETTING),
    ]
    names = ("setting", "value", "origin", "meaning")
    output.emit(Report(Result(names, ("VARCHAR",) * 4, rows), "config"))


def _description(setting: Setting) -> Row:
    """A setting of which there is one per chain, source or venue."""
    return (setting.env, "", "default", setting.meaning)


def _plain_settings(settings: Settings) -> Iterator[Row]:
    from chainwatch.settings import SETTINGS

    in_force = {
        "home": str(settings.home),
        "cache": str(settings.cache),
        "markets": str(settings.markets),
        "tokens": str(settings.tokens),
        "timeout": f"{settings.timeout:g}",
        "webhook": _masked(settings, "webhook"),
        "notify": _masked(settings, "notify"),
        "ca_file": str(settings.ca_file or "none"),
    }
    for setting in SETTINGS:
        configured = settings.get(setting.name)
        origin = configured.origin if configured else "default"
        yield (setting.env, in_force[setting.name], origin, setting.meaning)


def _endpoints(settings: Settings) -> Iterator[Row]:
    from chainwatch.urls import mask

    for chain in settings.rpc_chains():
        configured = settings.rpc_urls(chain)
        if configured is not None:
            masked = ", ".join(mask(u.strip()) for u in configured.value.split(",") if u.strip())
            yield (f"CHAINWATCH_RPC_{chain.upper()}", masked, configured.origin, "")


def _base_urls(settings: Settings) -> Iterator[Row]:
    from chainwatch.collect.registry import discover

    for source in discover().values():
        if default := source.base or source.rest:
            base = settings.url(source.name, default)
            name = f"CHAINWATCH_URL_{source.name.upper().replace('-', '_')}"
            yield (name, base.shown or "off", base.origin, "")


def _feed_urls(settings: Settings) -> Iterator[Row]:
    from chainwatch.urls import mask

    for name in settings.feed_urls():
        configured = settings.get(name)
        if configured is not None:
            yield (f"CHAINWATCH_{name.upper()}", mask(configured.value), configured.origin, "")


def _masked(settings: Settings, name: str) -> str:
    from chainwatch.urls import mask

    configured = settings.get(name)
    return " ".join(mask(url) for url in configured.value.split()) if configured else "none"
