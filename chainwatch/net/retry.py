"""When to ask again: full jitter, caps, and what the server wishes."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from chainwatch import numbers

# --- asking again ---------------------------------------------------------------------------


class Backoff:
    """Waits between tries: exponential with full jitter, never less than the server asks for.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(
        self,
        base: float = 0.5,
        cap: float = 30.0,
        random: random.Random | None = None,
        *,
        floor: float = 0.0,
    ) -> None:
        self._base = base
        self._cap = cap
        self._floor = floor
        self._random = random or _RANDOM

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the given failed attempt, counted from 0.

        The wait lies between `floor` (a share) and the whole of a ceiling that doubles.
        """
        ceiling = min(self._cap, self._base * 2.0 ** min(attempt, 64))
        drawn = self._random.uniform(self._floor * ceiling, ceiling)
        return max(drawn, retry_after or 0.0)


_RANDOM = random.Random()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds a server asks to wait: Retry-After as a number or an HTTP date (RFC 9110).

    A date counts from the server's own Date where it sends one, so that a wrong clock here
    does not matter.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        try:
            return float(numbers.integer(text))
        except numbers.NotReadable:
            return None
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(headers.get("Date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
