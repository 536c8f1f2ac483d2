-- name: factors_at
-- title: Assets that move with each factor at the newest snapshot of each market
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: factors market factor kind beta
-- columns of: reserves symbol price_usd
-- columns of: factors factor_price cap_x floor_x evidence feed description asset block_number deviation heartbeat
-- column: block_time time time stamp of that block
-- columns of: factors snapshot
-- portable: yes
SELECT s.market, f.factor, f.kind, f.beta, r.symbol, r.price_usd, f.factor_price, f.cap_x,
       f.floor_x, f.evidence, f.feed,
       f.description, f.asset, s.block_number, f.deviation, f.heartbeat,
       s.block_time, s.snapshot
FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
JOIN factors AS f ON f.snapshot = s.snapshot
JOIN reserves AS r ON r.snapshot = f.snapshot AND r.asset = f.asset
