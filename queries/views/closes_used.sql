-- name: closes_used
-- title: Daily closes of BTC and ETH behind a covariance: source, first and last day, number
-- needs: snapshots(p_as_of)
-- param: p_window BIGINT = 90  days of closes
-- param: p_as_of TIMESTAMPTZ = NULL  closes up to this time; null: all
-- column: asset text what is priced: BTC or ETH
-- columns of: daily_moves() venue source provenance
-- column: from_day date day of the oldest close used; null where none is stored
-- column: to_day date day of the newest close used; null where none is stored
-- column: closes count closes used
-- column: moves count returns between closes of adjoining days
-- note: moves: returns between closes of adjoining days
SELECT a.asset, d.venue, d.source, d.provenance, CAST(min(d.time) AS DATE) AS from_day,
       CAST(max(d.time) AS DATE) AS to_day, count(d.close) AS closes, count(d.r) AS moves
FROM (VALUES ('BTC'), ('ETH')) AS a(asset)
LEFT JOIN daily_moves(p_window := $p_window, p_as_of := $p_as_of) AS d ON d.asset = a.asset
GROUP BY a.asset, d.venue, d.source, d.provenance
ORDER BY ALL
