-- name: accounts_from_legs
-- title: Accounts, riskiest first
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_min_debt_usd DOUBLE = 0  ignore accounts with less debt, USD
-- param: p_limit BIGINT = 50  most rows returned
WITH newest AS (
  SELECT snapshot FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), biggest AS (
  SELECT l.snapshot, l.account, l.position,
         first(r.symbol ORDER BY l.usd DESC, l.asset) FILTER (WHERE l.side = 'collateral' AND l.usd IS NOT NULL) AS top_collateral,
         first(r.symbol ORDER BY l.usd DESC, l.asset) FILTER (WHERE l.side = 'debt' AND l.usd IS NOT NULL) AS top_debt
  FROM newest AS s
  JOIN legs AS l ON l.snapshot = s.snapshot
  JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
  GROUP BY l.snapshot, l.account, l.position
), taken AS (
  -- What is liquidatable now does not depend on what moves: no factor has this name.
  SELECT market, account, position, sum(due_usd) AS due_usd, sum(seize_usd) AS liquidatable_now_usd
  FROM forced_sales_from_legs(p_factor := '', p_market := $p_market, p_as_of := $p_as_of)
  WHERE direction = 'now'
  GROUP BY market, account, position
)
SELECT a.market, a.account, a.position, a.status, a.hf, a.collateral_usd, a.debt_usd,
       CASE WHEN a.hf > 1e0 AND a.class <> 1 THEN 1e0 - 1e0 / a.hf END AS liquidation_drop_share,
       b.top_collateral, b.top_debt, a.emode, a.hf_wad, a.class = 1 AS liquidatable,
       t.due_usd, t.liquidatable_now_usd, coalesce(a.blocked_reason, '') AS blocked_reason, a.block_number, a.read_block
FROM newest AS s
JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
LEFT JOIN biggest AS b ON b.snapshot = a.snapshot AND b.account = a.account AND b.position = a.position
LEFT JOIN taken AS t ON t.market = a.market AND t.account = a.account AND t.position = a.position
WHERE a.status <> 'no debt' AND (a.debt_usd IS NULL OR a.debt_usd >= $p_min_debt_usd)
ORDER BY a.class = 1 DESC, a.hf_wad ASC NULLS LAST, a.debt_usd DESC, a.market, a.account, a.position
LIMIT $p_limit
