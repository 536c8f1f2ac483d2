"""A second reading of the chain that shares no code with ours: web3's transport and codecs.

`verify --with-web3` uses it, so that a fault in our own client or decoding cannot confirm itself.
Sole user of web3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chainwatch.chain.contract import read_abi
from chainwatch.errors import NetworkError
from chainwatch.urls import mask

if TYPE_CHECKING:
    from chainwatch.chain.types import Block


async def read_account_data(
    urls: Sequence[str],
    pool: str,
    accounts: Sequence[str],
    at: Block,
    progress: Callable[[str, float, float | None], None],
) -> list[tuple[int, int, int] | None]:
    """`getUserAccountData` of each account at a block: (collateral, debt, health factor).

    None where the call reverts. Asks one account at a time, so it is slow. Raises NetworkError
    where web3 gets no answer; its text never carries the URL.
    """
    from web3 import AsyncHTTPProvider, AsyncWeb3
    from web3.exceptions import ContractLogicError

    provider = AsyncHTTPProvider(urls[0])
    client = AsyncWeb3(provider)
    contract = client.eth.contract(
        address=client.to_checksum_address(pool), abi=read_abi("aave_v3_pool")
    )
    data: list[tuple[int, int, int] | None] = []
    try:
        for i, account in enumerate(accounts, start=1):
            checksummed = client.to_checksum_address(account)
            call = contract.functions.getUserAccountData(checksummed)
            try:
                answer = await call.call(block_identifier=at.number)
                data.append((answer[0], answer[1], answer[5]))
            except ContractLogicError:
                data.append(None)
            progress("accounts verified through web3", i, len(accounts))
    except Exception as failure:  # whatever its transport raises; its text may hold the URL
        raise NetworkError(
            f"{mask(urls[0])}: web3 got no usable answer ({type(failure).__name__})"
        ) from None
    finally:
        await provider.disconnect()
    return data
