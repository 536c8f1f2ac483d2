"""How a request or a socket fails."""

from __future__ import annotations

from chainwatch.errors import NetworkError
from chainwatch.urls import mask


class Failed(NetworkError):
    """A request without a usable answer: the masked URL and one reason."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{mask(url)}: {reason}")
        self.reason = reason


class Unfinished(Failed):
    """The answer did not come in time or not to its end; asking for less may help."""


class TooLarge(Failed):
    """The answer is larger than the cap; asking for less helps."""


class SocketRefused(Failed):
    """The server answers the opening of a socket with an HTTP status."""

    def __init__(self, url: str, status: int, wait: float | None) -> None:
        super().__init__(url, f"refuses the socket with HTTP {status}")
        self.wait = wait


class Closed(Failed):
    """The socket is closed: by whom and why."""
