"""VAI, the dollar that Venus mints against collateral: a debt beside a comptroller's markets.

Source: VenusProtocol/venus-protocol 2.2.1 (VAIController, ComptrollerLens). A unit of it counts as
a dollar. What an account owes is in no market it has entered, but its shortfall includes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainwatch.chain.contract import Contract
from chainwatch.chain.reading import Reading
from chainwatch.lending.protocols.compound_v2.arithmetic import vai_balance

CONTROLLER = Contract("venus_vai_controller", "a VAI controller of Venus")
REPAY_AMOUNT = CONTROLLER.function("getVAIRepayAmount")
MINTER_INDEX = CONTROLLER.function("getVAIMinterInterestIndex")
TOKEN = CONTROLLER.function("getVAIAddress")
MINT_INDEX = CONTROLLER.function("vaiMintIndex")
ACCRUE_INTEREST = CONTROLLER.function("accrueVAIInterest")
PAST_INTEREST = CONTROLLER.function("pastVAIInterest")
MINTED = Contract("compound_v2_comptroller").function("mintedVAIs")
LIQUIDATE_VAI = CONTROLLER.event("LiquidateVAI")
CONTROLLER_ACCOUNTS = {"MintVAI": "minter", "RepayVAI": "borrower"}


async def read_debts(reading: Reading, controller: str, accounts: Sequence[str]) -> dict[str, int]:
    """What accounts owe in VAI, 18 decimals, with interest as stored; those that owe any."""
    owed = await reading.ask([REPAY_AMOUNT(controller, account) for account in accounts])
    return {account: amount for account, amount in zip(accounts, owed, strict=True) if amount}


async def read_accrued(
    reading: Reading, controller: str, debts: Mapping[str, int]
) -> Mapping[str, int]:
    """The same debts with interest up to the block; as stored where the controller takes none."""
    if not debts:
        return {}
    # In one read: the first call accrues interest for the second.
    _, index = await reading.ask([ACCRUE_INTEREST.maybe(controller), MINT_INDEX.maybe(controller)])
    if index is None:
        return debts
    terms = await reading.ask_each(
        debts,
        lambda account: (
            MINTED(reading.pool, account),
            PAST_INTEREST(controller, account),
            MINTER_INDEX(controller, account),
        ),
    )
    return {
        account: vai_balance(minted, past, index - since)
        for account, (minted, past, since) in terms.items()
    }
