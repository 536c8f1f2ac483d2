-- name: mart_factors
-- title: Assets that move with each factor: price(x) = price · (1 - beta + beta x)
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- column: factor text what moves: BTC, ETH, USDC, a ratio such as wstETH/ETH, feed:0x…
-- column: kind text feed, ratio, inverse (the price is divided by it), fixed or unknown: how the oracle was resolved
-- column: asset address address of the underlying token
-- column: symbol text token symbol, a label
-- column: beta multiple move of the price per move of the factor
-- column: price_usd price oracle price of the asset in USD
-- column: factor_price price the factor's value: USD for a feed, else the ratio
-- column: cap_x multiple multiple of the factor's value above which the price stops following it
-- column: feed address address of the contract that carries the factor
SELECT market, factor, kind, asset, symbol, beta, price_usd, factor_price, cap_x, feed
FROM factors_at(p_as_of := $p_as_of)
ORDER BY market, factor, asset
