"""One JSON-RPC request over HTTP, and what all endpoints of a client share to send it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import msgspec

from chainwatch.chain.answers import Answer, Request, open_answer
from chainwatch.chain.faults import CutOff, TooMuch, Trouble
from chainwatch.chain.types import Limits, Stats
from chainwatch.net.errors import Failed, TooLarge, Unfinished
from chainwatch.net.http import Http

_encode = msgspec.json.Encoder().encode
_HEADERS = {"Content-Type": "application/json"}


class Transport:
    """Posts batches of calls, counts them, and keeps the secrets of URLs out of answers."""

    def __init__(self, http: Http, urls: Sequence[str], limits: Limits) -> None:
        self.limits = limits
        self.stats = Stats()
        self._http = http
        self._urls = tuple(urls)
        self._ids = count(1)
        self._under_way = 0

    async def post(self, url: str, requests: Sequence[Request]) -> list[Answer]:
        """The answers to these calls, sent as one HTTP request.

        Raises Trouble where another endpoint, or fewer calls, may do better.
        """
        ids = [next(self._ids) for _ in requests]
        calls = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(ids, requests, strict=True)
        ]
        body = _encode(calls if len(calls) > 1 else calls[0])
        self.stats.requests += 1
        self.stats.rounds += not self._under_way
        self._under_way += 1
        for method, _ in requests:
            self.stats.methods[method] = self.stats.methods.get(method, 0) + 1
        try:
            response = await self._http.request(
                "POST",
                url,
                body=body,
                headers=_HEADERS,
                timeout=self.limits.timeout,
                max_bytes=self.limits.max_bytes,
            )
        except TooLarge as error:
            raise TooMuch(error.reason) from None
        except Unfinished as error:
            raise CutOff(error.reason, answered=False) from None
        except Failed as error:
            raise Trouble(error.reason, answered=False) from None
        finally:
            self._under_way -= 1
        self.stats.bytes += len(response.body)
        return open_answer(response, ids, self._urls)
