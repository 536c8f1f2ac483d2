-- name: factor_graph
-- title: Factors and feeds behind each asset's price, as the price sources give them on chain
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: factors_at() market
-- column: asset text token symbol, a label
-- columns of: factors_at() price_usd factor kind beta evidence factor_price
-- column: cap_price price factor's value above which the price source stops following it; null without a cap
-- column: floor_price price factor's value below which the price source stops following it; null without a floor
-- column: collateral_usd usd collateral that accounts hold of the asset, as far as it has a price
-- column: debt_usd usd debt that accounts have of it, as far as it has a price
-- columns of: factors_at() feed description
-- column: asset_address address address of the underlying token
-- columns of: factors_at() block_number block_time snapshot
-- show: market asset price_usd factor kind beta evidence factor_price cap_price floor_price collateral_usd debt_usd feed
-- note: kind: feed = a plain feed in USD; ratio = an exchange rate or a feed in another asset; inverse = the price is divided by it; nonlinear = the price follows it in another way; fixed = never moves; unknown = a price source that is not understood, a factor of its own
-- note: evidence: measured = the contract behind the factor was made to answer otherwise, and the price read again; inferred = by getters of the price source; unknown = what moves the price is not known
-- note: cap_price, floor_price: the factor's value above and below which the price source stops following it
-- portable: yes
WITH newest AS (
  SELECT snapshot FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), held AS (
  SELECT l.snapshot, l.asset,
         sum(CASE WHEN l.side = 'collateral' THEN l.usd ELSE 0e0 END) AS collateral_usd,
         sum(CASE WHEN l.side = 'debt' THEN l.usd ELSE 0e0 END) AS debt_usd
  FROM newest AS c JOIN legs AS l ON l.snapshot = c.snapshot
  GROUP BY l.snapshot, l.asset
)
SELECT f.market, f.symbol AS asset, f.price_usd, f.factor, f.kind, f.beta, f.evidence, f.factor_price,
       f.factor_price * f.cap_x AS cap_price, f.factor_price * f.floor_x AS floor_price,
       coalesce(h.collateral_usd, 0e0) AS collateral_usd,
       coalesce(h.debt_usd, 0e0) AS debt_usd, f.feed, f.description, f.asset AS asset_address,
       f.block_number, f.block_time, f.snapshot
FROM factors_at(p_market := $p_market, p_as_of := $p_as_of) AS f
LEFT JOIN held AS h ON h.snapshot = f.snapshot AND h.asset = f.asset
ORDER BY f.market, f.symbol, f.asset, CASE f.kind WHEN 'feed' THEN 0 ELSE 1 END, f.factor
