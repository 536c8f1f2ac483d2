"""URLs without the secrets they may hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, unquote, urlsplit

from chainwatch.errors import ConfigError
from chainwatch.text import visible

DEFAULT_PORTS = {"http": 80, "https": 443}
# Shorter pieces of a URL are not keys; replacing them would change ordinary words.
_SECRET_LENGTH = 4


# --- what may be shown of a URL -------------------------------------------------------------


def mask(url: str) -> str:
    """The URL up to its host and port, with "/…" where more of it is hidden.

    Of other schemes than HTTP and WebSocket only the scheme is shown: apprise has tokens in the
    place of the host.
    """
    parts = split(url)
    if parts is None:
        return "…"
    if parts.scheme not in ("http", "https", "ws", "wss"):
        return f"{parts.scheme}://…" if parts.scheme else "…"
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        port = ":…"
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    hidden = "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment
    return f"{parts.scheme}://{host}{port}" + ("/…" if hidden else "")


def require_http(url: str) -> None:
    """Raises ConfigError for anything but a URL of a web server."""
    parts = split(url)
    if parts is None or parts.scheme not in DEFAULT_PORTS:
        raise ConfigError(f"expected an http:// or https:// URL, got {mask(url)}")


def scrub(text: str, urls: Iterable[str]) -> str:
    """The text on one line, with every secret part of the given URLs replaced by "…"."""
    for url in urls:
        text = text.replace(url, mask(url))
        for secret in sorted(set(_secrets(url)), key=len, reverse=True):
            text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
    return visible(" ".join(text.split()))


def _secrets(url: str) -> Iterator[str]:
    parts = split(url)
    if parts is None:
        yield url
        return
    userinfo = parts.netloc.rpartition("@")[0]
    pieces = [parts.path, parts.query, parts.fragment, userinfo]
    pieces += parts.path.split("/") + re.split("[&=]", parts.query) + userinfo.split(":")
    for secret in pieces:
        for form in (secret, unquote(secret)):
            if len(form) >= _SECRET_LENGTH:
                yield form


def split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.hostname else None
