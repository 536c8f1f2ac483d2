"""What every token answers (EIP-20)."""

from chainwatch.chain.contract import Contract

TOKEN = Contract("erc20", "a token")
SYMBOL = TOKEN.function("symbol")
DECIMALS = TOKEN.function("decimals")
TOTAL_SUPPLY = TOKEN.function("totalSupply")
BALANCE_OF = TOKEN.function("balanceOf")
