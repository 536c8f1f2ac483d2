-- name: accounts
-- title: Accounts, riskiest first
-- needs: snapshots(p_as_of, p_market), excluded_accounts
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_min_debt_usd DOUBLE = 0  ignore accounts with less debt, USD
-- param: p_limit BIGINT = 50  most rows returned
-- columns of: classified_accounts() market account position status hf collateral_usd debt_usd
-- column: liquidation_drop_share share fall of all collateral against the debt until it is liquidatable; null if it is, at or below 1, or n/a
-- column: top_collateral text symbol of its collateral with most USD; null without any
-- column: top_debt text symbol of its debt with most USD; null without any
-- columns of: classified_accounts() emode hf_wad
-- column: liquidatable flag may be liquidated, by the contract's verdict if there is one, else by its health factor
-- column: due_usd usd of a liquidatable account: collateral that the close-factor rules let liquidators take now; null for others and where a price is missing
-- column: liquidatable_now_usd usd the same without what the contracts block, see blocked_reason
-- column: blocked_reason text why the contracts let nobody liquidate it although it is liquidatable; empty: they do, or it is not
-- columns of: classified_accounts() block_number read_block
-- note: drop: how far all of an account's collateral must fall against its debt until the account is liquidatable
-- note: accounts that the contract calls liquidatable come first, whatever their health factor, and have no drop
-- note: due, now: what liquidators may take of a liquidatable account by the market's close rule, and what of it the contracts let them take at the block (walls sums both up)
-- show: market account position status hf collateral_usd debt_usd liquidation_drop_share=drop top_collateral top_debt emode
-- show: due_usd<>liquidatable_now_usd=due_USD liquidatable_now_usd<>due_usd=now_USD blocked_reason=blocked
WITH newest AS (
  SELECT snapshot FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), riskiest AS (
  SELECT a.snapshot, a.market, a.account, a.position, a.status, a.hf, a.collateral_usd, a.debt_usd, a.class, a.emode,
         a.hf_wad, a.blocked_reason, a.block_number, a.read_block
  FROM newest AS s
  JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
  WHERE a.status <> 'no debt' AND (a.debt_usd IS NULL OR a.debt_usd >= $p_min_debt_usd)
  ORDER BY a.class = 1 DESC, a.hf_wad ASC NULLS LAST, a.debt_usd DESC, a.market, a.account, a.position
  LIMIT $p_limit
), biggest AS (
  -- The first slot of a side holds the largest balance; accounts without slots have legs only.
  SELECT a.snapshot, a.account, a.position, c.symbol AS top_collateral, d.symbol AS top_debt
  FROM riskiest AS a
  JOIN account_slots AS l ON l.snapshot = a.snapshot AND l.account = a.account AND l.position = a.position
  LEFT JOIN slot_terms AS ct ON ct.snapshot = l.snapshot AND ct.term_id = l.collateral1_term_id
  LEFT JOIN slot_terms AS dt ON dt.snapshot = l.snapshot AND dt.term_id = l.debt1_term_id
  LEFT JOIN reserves AS c ON c.snapshot = ct.snapshot AND c.asset = ct.asset
  LEFT JOIN reserves AS d ON d.snapshot = dt.snapshot AND d.asset = dt.asset
  WHERE l.in_usd
  UNION ALL
  SELECT l.snapshot, l.account, l.position,
         first(r.symbol ORDER BY l.usd DESC, l.asset) FILTER (WHERE l.side = 'collateral' AND l.usd IS NOT NULL),
         first(r.symbol ORDER BY l.usd DESC, l.asset) FILTER (WHERE l.side = 'debt' AND l.usd IS NOT NULL)
  FROM riskiest AS a
  JOIN legs AS l ON l.snapshot = a.snapshot AND l.account = a.account AND l.position = a.position AND l.in_slots IS NULL
  JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
  GROUP BY l.snapshot, l.account, l.position
), taken AS (
  -- What is liquidatable now does not depend on what moves: no factor has this name.
  SELECT market, account, position, sum(due_usd) AS due_usd, sum(seize_usd) AS liquidatable_now_usd
  FROM forced_sales(p_factor := '', p_market := $p_market, p_as_of := $p_as_of)
  WHERE direction = 'now'
  GROUP BY market, account, position
)
SELECT a.market, a.account, a.position, a.status, a.hf, a.collateral_usd, a.debt_usd,
       CASE WHEN a.hf > 1e0 AND a.class <> 1 THEN 1e0 - 1e0 / a.hf END AS liquidation_drop_share,
       b.top_collateral, b.top_debt, a.emode, a.hf_wad, a.class = 1 AS liquidatable,
       t.due_usd, t.liquidatable_now_usd, coalesce(a.blocked_reason, '') AS blocked_reason, a.block_number, a.read_block
FROM riskiest AS a
LEFT JOIN biggest AS b ON b.snapshot = a.snapshot AND b.account = a.account AND b.position = a.position
LEFT JOIN taken AS t ON t.market = a.market AND t.account = a.account AND t.position = a.position
ORDER BY a.class = 1 DESC, a.hf_wad ASC NULLS LAST, a.debt_usd DESC, a.market, a.account, a.position
