-- name: leg_changes
-- title: Every balance of two snapshots of each market: what interest, liquidations and owners did to it
-- param: p_from TIMESTAMPTZ = NULL  the older snapshot: its newest block up to this time; null: the oldest
-- param: p_to TIMESTAMPTZ = NULL  the newer snapshot: its newest block up to this time; null: the newest
-- columns of: legs market account position asset side
-- column: before_amount amount older balance in whole tokens; null where it was not there
-- column: after_amount amount newer balance in whole tokens; null where it is gone
-- column: interest amount growth of the older balance by its index, in whole tokens
-- column: liquidated amount taken by liquidations between the two blocks, in whole tokens
-- column: moved amount the remaining change: above 0 borrowed or supplied, below 0 repaid or withdrawn, net
-- column: before_usd usd older balance in USD; null where it was not there or has no price
-- column: after_usd usd newer balance in USD; null where it is gone or has no price
-- column: before_price price USD per token at the older block; null where it was not there or has no price
-- column: after_price price USD per token at the newer block; null without a price
-- column: before_lt_bps bps liquidation threshold of the older balance; null where it was not there
-- column: after_lt_bps bps liquidation threshold of the newer balance; null where it is gone
-- column: before_bonus_bps bps liquidation bonus of the older balance; null where it was not there
-- column: after_bonus_bps bps liquidation bonus of the newer balance; null where it is gone
-- column: before_category_priced flag older balance valued at its category's own price; null where it was not there
-- column: after_category_priced flag newer balance valued at its category's own price; null where it is gone
-- note: interest: growth of the older balance by its index; liquidated: from events between the two blocks
-- note: moved: the remaining change, above 0 borrowed or supplied, below 0 repaid or withdrawn, net
WITH older AS (
  SELECT s.market, s.snapshot, s.block_number
  FROM snapshots AS s LEFT JOIN orphans AS o ON o.snapshot = s.snapshot
  WHERE o.snapshot IS NULL AND ($p_from IS NULL OR s.block_time <= $p_from)
  QUALIFY row_number() OVER (
    PARTITION BY s.market
    ORDER BY CASE WHEN $p_from IS NULL THEN -s.block_number ELSE s.block_number END DESC,
             CASE WHEN $p_from IS NULL THEN -epoch_us(s.block_time) ELSE epoch_us(s.block_time) END DESC,
             s.read_at DESC) = 1
), pair AS (
  SELECT n.market, o.snapshot AS before_id, n.snapshot AS after_id,
         o.block_number AS before_block, n.block_number AS after_block
  FROM snapshots_at(p_as_of := $p_to) AS n JOIN older AS o ON o.market = n.market
), old AS (
  SELECT p.market, l.account, l.position, l.asset, l.side, l.amount, l.usd, l.lt_bps, l.bonus_bps, l.category_priced,
         r.price_usd, CASE WHEN l.side = 'debt' THEN r.debt_index ELSE r.liquidity_index END AS grown
  FROM pair AS p
  JOIN legs AS l ON l.snapshot = p.before_id AND l.side <> 'idle'
  LEFT JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
), new AS (
  SELECT p.market, l.account, l.position, l.asset, l.side, l.amount, l.usd, l.lt_bps, l.bonus_bps, l.category_priced
  FROM pair AS p
  JOIN legs AS l ON l.snapshot = p.after_id AND l.side <> 'idle'
), reserve AS (
  SELECT p.market, r.asset, r.price_usd, r.debt_index, r.liquidity_index
  FROM pair AS p JOIN reserves AS r ON r.snapshot = p.after_id
), seized AS (
  -- What the collateral lost is what the liquidator got and the protocol's part of the bonus.
  SELECT p.market, e.account, e.position, e.debt_asset AS asset, 'debt' AS side, sum(e.debt_repaid) AS amount
  FROM pair AS p
  JOIN liquidations_on_chain() AS e ON e.market = p.market
   AND e.block_number > p.before_block AND e.block_number <= p.after_block
  WHERE e.kind IN ('liquidation', 'absorb-debt')
  GROUP BY ALL
  UNION ALL
  SELECT p.market, e.account, e.position, e.coll_asset, 'collateral',
         sum(e.coll_seized / (1e0 - coalesce(e.protocol_fee_bps / 1e4 * e.bonus_bps / (1e4 + e.bonus_bps), 0e0)))
  FROM pair AS p
  JOIN liquidations_on_chain() AS e ON e.market = p.market
   AND e.block_number > p.before_block AND e.block_number <= p.after_block
  WHERE e.kind IN ('liquidation', 'absorb-collateral')
  GROUP BY ALL
), both_sides AS (
  SELECT coalesce(o.market, n.market) AS market, coalesce(o.account, n.account) AS account,
         coalesce(o.position, n.position) AS position,
         coalesce(o.asset, n.asset) AS asset, coalesce(o.side, n.side) AS side,
         o.amount AS before_amount, n.amount AS after_amount, o.usd AS before_usd, n.usd AS after_usd,
         coalesce(o.usd / nullif(o.amount, 0e0), o.price_usd) AS before_price, o.price_usd AS price_then,
         n.usd / nullif(n.amount, 0e0) AS after_price, o.grown,
         o.lt_bps AS before_lt_bps, n.lt_bps AS after_lt_bps,
         o.bonus_bps AS before_bonus_bps, n.bonus_bps AS after_bonus_bps,
         o.category_priced AS before_category_priced, n.category_priced AS after_category_priced
  FROM old AS o
  FULL JOIN new AS n
    ON n.market = o.market AND n.account = o.account AND n.position = o.position AND n.asset = o.asset AND n.side = o.side
)
SELECT b.market, b.account, b.position, b.asset, b.side, b.before_amount, b.after_amount,
       coalesce(b.before_amount, 0e0) * (coalesce(
         CAST(CASE WHEN b.side = 'debt' THEN r.debt_index ELSE r.liquidity_index END AS DOUBLE)
         / nullif(CAST(b.grown AS DOUBLE), 0e0), 1e0) - 1e0) AS interest,
       coalesce(t.amount, 0e0) AS liquidated,
       coalesce(b.after_amount, 0e0) - coalesce(b.before_amount, 0e0) * coalesce(
         CAST(CASE WHEN b.side = 'debt' THEN r.debt_index ELSE r.liquidity_index END AS DOUBLE)
         / nullif(CAST(b.grown AS DOUBLE), 0e0), 1e0) + coalesce(t.amount, 0e0) AS moved,
       b.before_usd, b.after_usd, b.before_price,
       -- a category's own price is used where the balance that had it is gone
       coalesce(b.after_price, CASE WHEN b.before_category_priced THEN b.before_price ELSE r.price_usd END)
         AS after_price,
       b.before_lt_bps, b.after_lt_bps, b.before_bonus_bps, b.after_bonus_bps,
       b.before_category_priced, b.after_category_priced
FROM both_sides AS b
LEFT JOIN reserve AS r ON r.market = b.market AND r.asset = b.asset
LEFT JOIN seized AS t
  ON t.market = b.market AND t.account = b.account AND t.position = b.position AND t.asset = b.asset AND t.side = b.side
