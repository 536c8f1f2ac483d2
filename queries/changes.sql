-- name: changes
-- title: Changes between the two newest snapshots of each market
-- needs: snapshots(p_as_of, p_market), excluded_accounts
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- show: market metric before after change change_share=relative before_block after_block
-- param: p_since TIMESTAMPTZ = NULL  compare with the newest block up to this; null: the one before
-- column: market text market
-- column: metric text what is compared, with its unit
-- column: before figure figure at before_block; null where it is not known
-- column: after figure figure at after_block; null where it is not known
-- column: change figure after less before
-- column: change_share share change over before; null where that is 0
-- column: before_block block block of the older snapshot
-- column: after_block block block of the newer snapshot
WITH newer AS (
  SELECT * FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), older AS (
  SELECT s.snapshot, s.market, s.block_number
  FROM snapshots AS s
  JOIN newer AS n ON n.market = s.market
   AND (s.block_number, s.block_time) < (n.block_number, n.block_time)
  LEFT JOIN orphans AS o ON o.snapshot = s.snapshot
  WHERE o.snapshot IS NULL AND ($p_since IS NULL OR s.block_time <= $p_since)
  QUALIFY row_number() OVER (PARTITION BY s.market
                             ORDER BY s.block_number DESC, s.block_time DESC, s.read_at DESC) = 1
), pair AS (
  SELECT n.market, o.snapshot AS before_id, n.snapshot AS after_id,
         o.block_number AS before_block, n.block_number AS after_block
  FROM newer AS n JOIN older AS o ON o.market = n.market
), standing AS (
  SELECT p.market, w.which, count(a.account) AS accounts,
         CASE WHEN count(a.account) = 0 THEN 0e0 ELSE sum(a.collateral_usd) END AS collateral_usd,
         CASE WHEN count(a.account) = 0 THEN 0e0 ELSE sum(a.debt_usd) END AS debt_usd,
         sum(CASE WHEN a.class = 1 THEN 1 ELSE 0 END) AS liquidatable,
         CASE WHEN count(*) FILTER (a.class = 1) = 0 THEN 0e0
              ELSE sum(a.debt_usd) FILTER (a.class = 1) END AS liquidatable_usd,
         CASE WHEN count(a.account) = 0 THEN 0e0
              ELSE sum(CASE WHEN a.debt_usd > a.collateral_usd THEN a.debt_usd - a.collateral_usd
                            WHEN a.debt_usd <= a.collateral_usd THEN 0e0 END) END AS bad_debt_usd,
         CASE WHEN count(*) FILTER (a.class IN (2, 3)) = 0 THEN 0e0
              ELSE sum(a.debt_usd) FILTER (a.class IN (2, 3)) END AS near_usd
  FROM pair AS p
  CROSS JOIN (VALUES ('before'), ('after')) AS w(which)
  LEFT JOIN classified_accounts() AS a
    ON a.snapshot = CASE WHEN w.which = 'before' THEN p.before_id ELSE p.after_id END
  GROUP BY p.market, w.which
), figure AS (
  SELECT b.market, f.place, f.metric, f.before_value, f.after_value
  FROM standing AS b
  JOIN standing AS a ON a.market = b.market AND a.which = 'after'
  CROSS JOIN LATERAL (VALUES
    (100, 'accounts', b.accounts::DOUBLE, a.accounts::DOUBLE),
    (101, 'collateral USD', b.collateral_usd, a.collateral_usd),
    (102, 'debt USD', b.debt_usd, a.debt_usd),
    (103, 'debt within 5 % of liquidation USD', b.near_usd, a.near_usd),
    (104, 'accounts liquidatable', b.liquidatable::DOUBLE, a.liquidatable::DOUBLE),
    (105, 'debt liquidatable USD', b.liquidatable_usd, a.liquidatable_usd),
    (106, 'bad debt USD', b.bad_debt_usd, a.bad_debt_usd)
  ) AS f(place, metric, before_value, after_value)
  WHERE b.which = 'before'
  UNION ALL
  SELECT p.market, rb.reserve_id, 'price ' || ra.symbol || ' USD', rb.price_usd, ra.price_usd
  FROM pair AS p
  JOIN reserves AS rb ON rb.snapshot = p.before_id
  JOIN reserves AS ra ON ra.snapshot = p.after_id AND ra.asset = rb.asset
  WHERE rb.price_usd IS DISTINCT FROM ra.price_usd
)
SELECT f.market, f.metric, f.before_value AS before, f.after_value AS after,
       f.after_value - f.before_value AS change,
       f.after_value / nullif(f.before_value, 0e0) - 1e0 AS change_share,
       p.before_block, p.after_block
FROM figure AS f JOIN pair AS p ON p.market = f.market
ORDER BY f.market, f.place
