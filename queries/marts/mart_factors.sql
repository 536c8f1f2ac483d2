-- name: mart_factors
-- title: Assets that move with each factor: price(x) = price · (1 - beta + beta x)
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- columns of: factors_at() market factor kind asset symbol beta price_usd factor_price cap_x floor_x evidence feed
SELECT market, factor, kind, asset, symbol, beta, price_usd, factor_price, cap_x, floor_x, evidence, feed
FROM factors_at(p_as_of := $p_as_of)
ORDER BY market, factor, asset
