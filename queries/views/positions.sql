-- name: positions
-- title: Every balance at the newest snapshot of each market, with symbol, price and block
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: legs market
-- columns of: reserves block_number
-- column: block_time time time stamp of that block
-- columns of: legs account position side
-- columns of: reserves symbol
-- columns of: legs asset amount
-- columns of: reserves price_usd
-- columns of: legs usd lt_bps bonus_bps snapshot
-- portable: yes
SELECT s.market, s.block_number, s.block_time, l.account, l.position, l.side, r.symbol, l.asset, l.amount,
       r.price_usd, l.usd, l.lt_bps, l.bonus_bps, l.snapshot
FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
JOIN legs AS l ON l.snapshot = s.snapshot
JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
