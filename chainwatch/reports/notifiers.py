"""Where notices are sent: a webhook, or what apprise supports."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from chainwatch.errors import ConfigError, NetworkError, UsageError
from chainwatch.net.http import Http
from chainwatch.tables.log import Notice
from chainwatch.text import visible
from chainwatch.urls import mask, require_http


class Notifier(Protocol):
    """A channel that notices are sent to; its name holds no secret."""

    name: str

    def send(self, notices: Sequence[Notice]) -> None:
        """Send them. Raises a ChainwatchError where they were not accepted."""


# In chats `<!channel>` and `@everyone` call people: names of tokens must not.
_HARMLESS = str.maketrans({"<": "‹", ">": "›", "@": "＠"})


def text_of(notices: Sequence[Notice]) -> str:
    """Notices as lines for people, a line each, that call nobody."""
    return "\n".join(
        f"{'✔' if n.kind == 'cleared' else '▲'} {n.rule.removeprefix('alert_')}: "
        f"{visible(n.message).translate(_HARMLESS)}"
        for n in notices
    )


def _name(kind: str, url: str) -> str:
    return f"{kind} {mask(url)} {hashlib.sha256(url.encode()).hexdigest()[:8]}"


class Webhook:
    """A URL that accepts a JSON POST: `text` for people, `notices` for machines.

    `authorities` as of Http.
    """

    def __init__(self, url: str, timeout: float, *, authorities: Path | None = None) -> None:
        try:
            require_http(url)
        except ConfigError as failure:
            raise ConfigError(f"CHAINWATCH_WEBHOOK: {failure}") from None
        self.name = _name("webhook", url)
        self._url = url
        self._timeout = timeout
        self._authorities = authorities

    def send(self, notices: Sequence[Notice]) -> None:
        body = {
            "text": text_of(notices),
            "notices": [
                msgspec.to_builtins(n) | {"notified_at": n.notified_at.isoformat()} for n in notices
            ],
        }
        asyncio.run(self._post(json.dumps(body, ensure_ascii=False).encode()))

    async def _post(self, body: bytes) -> None:
        async with Http(authorities=self._authorities) as http:
            answer = await http.request(
                "POST",
                self._url,
                body=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout,
            )
        if not 200 <= answer.status < 300:
            raise NetworkError(f"{mask(self._url)}: HTTP {answer.status}")


class Apprise:
    """A service that apprise supports (extra `alerts`), by its URL."""

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError:
            raise UsageError(
                "CHAINWATCH_NOTIFY needs apprise: install chainwatch with the extra `alerts`"
            ) from None
        self.name = _name("apprise", url)
        self._sender = apprise.Apprise()
        self._plain = apprise.NotifyFormat.TEXT  # otherwise names would be read as HTML in a mail
        if not self._sender.add(url):
            raise ConfigError(
                f"CHAINWATCH_NOTIFY: {url.split(':', 1)[0]}://… is not an apprise URL"
            )

    def send(self, notices: Sequence[Notice]) -> None:
        if not self._sender.notify(
            title="chainwatch", body=text_of(notices), body_format=self._plain
        ):
            raise NetworkError(f"{self.name.rsplit(' ', 1)[0]} did not accept the notices")
