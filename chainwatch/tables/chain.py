"""Tables of chains: what their endpoints can do."""

from datetime import datetime
from typing import Annotated

from chainwatch.tables.base import Row


class Capabilities(Row, frozen=True, kw_only=True):
    """What one endpoint of a chain could do when it was probed; what is null is in `reason`.

    A size that was refused beside one that was accepted is a limit; without one, all that was tried
    was accepted.
    """

    table = "capabilities"
    key = ("chain", "endpoint", "endpoint_hash", "probed_at")

    chain: Annotated[str, "name of the chain in the market table"]
    endpoint: Annotated[str, "URL up to host and port; what may hold a key is left out"]
    endpoint_hash: Annotated[str, "first 8 hex digits of the SHA-256 of the whole URL"]
    probed_at: Annotated[datetime, "when probing ended"]
    requests: Annotated[int, "HTTP requests that probing took"]
    chain_id: Annotated[int, "chain id that it serves"]
    client_version: Annotated[str | None, "name and version of the node, as it says"]
    block_number: Annotated[int, "its newest block at that time"]
    block_time: Annotated[datetime, "time of that block"]
    state_overrides: Annotated[bool | None, "eth_call takes code in place of that of an address"]
    access_lists: Annotated[bool | None, "eth_createAccessList names what a call touches"]
    call_gas: Annotated[
        int | None,
        "gas of an eth_call that states none, its intrinsic gas included; without state overrides: "
        "of one that creates code; 9223372036854775807: no cap",
    ]
    has_logs: Annotated[
        bool | None, "eth_getLogs gives logs of a recent block whose header says that it has some"
    ]
    oldest_block: Annotated[int | None, "oldest block found whose state can be read"]
    pruned_block: Annotated[int | None, "newest block found whose state cannot be read; null: none"]
    log_blocks: Annotated[int | None, "blocks of the widest eth_getLogs that was accepted"]
    refused_log_blocks: Annotated[
        int | None, "blocks of the narrowest eth_getLogs that was refused; null: none"
    ]
    batch_calls: Annotated[int | None, "calls of the largest batch that was accepted"]
    refused_batch_calls: Annotated[
        int | None, "calls of the smallest batch that was refused; null: none"
    ]
    reason: Annotated[str, "JSON object: column that is null, or refused → why"]
