-- name: mart_parameter_changes
-- title: Parameters that differ from those of the newest snapshot before the day
-- needs: snapshots(p_as_of)
-- param: p_since TIMESTAMPTZ = NULL  beginning of the day
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- column: asset address address of the underlying token, or the e-mode category
-- column: symbol text token symbol or name of the category, a label
-- column: parameter text what changed; listed: the asset or category is new, or gone
-- column: before text value at before_block; null where there was none
-- column: after text value at after_block; null where there is none
-- column: before_block block block of the snapshot before
-- column: after_block block block of the day's snapshot
WITH newer AS (
  SELECT snapshot, market, block_number, block_time FROM snapshots_at(p_as_of := $p_as_of)
), older AS (
  SELECT s.snapshot, s.market, s.block_number
  FROM snapshots AS s
  JOIN newer AS n ON n.market = s.market
   AND (s.block_number, s.block_time) < (n.block_number, n.block_time)
  LEFT JOIN orphans AS o ON o.snapshot = s.snapshot
  WHERE o.snapshot IS NULL AND ($p_since IS NULL OR s.block_time < $p_since)
  QUALIFY row_number() OVER (PARTITION BY s.market
                             ORDER BY s.block_number DESC, s.block_time DESC, s.read_at DESC) = 1
), pair AS (
  SELECT n.market, o.snapshot AS before_id, n.snapshot AS after_id,
         o.block_number AS before_block, n.block_number AS after_block
  FROM newer AS n JOIN older AS o ON o.market = n.market
), figure AS (
  SELECT r.snapshot, r.asset, r.symbol, v.place, v.parameter, v.figure
  FROM reserves AS r
  CROSS JOIN LATERAL (VALUES
    (1, 'listed', 'yes'), (2, 'oracle', r.oracle), (3, 'ltv_bps', CAST(r.ltv_bps AS VARCHAR)),
    (4, 'lt_bps', CAST(r.lt_bps AS VARCHAR)), (5, 'bonus_bps', CAST(r.bonus_bps AS VARCHAR)),
    (6, 'protocol_fee_bps', CAST(r.protocol_fee_bps AS VARCHAR)),
    (7, 'emode', CAST(r.emode AS VARCHAR)), (8, 'active', CAST(r.active AS VARCHAR)),
    (9, 'frozen', CAST(r.frozen AS VARCHAR)), (10, 'paused', CAST(r.paused AS VARCHAR)),
    (11, 'borrowing', CAST(r.borrowing AS VARCHAR))
  ) AS v(place, parameter, figure)
  UNION ALL
  SELECT e.snapshot, 'e-mode ' || e.category, e.label, 20 + v.place, v.parameter, v.figure
  FROM emodes AS e
  CROSS JOIN LATERAL (VALUES
    (1, 'listed', 'yes'), (2, 'ltv_bps', CAST(e.ltv_bps AS VARCHAR)),
    (3, 'lt_bps', CAST(e.lt_bps AS VARCHAR)), (4, 'bonus_bps', CAST(e.bonus_bps AS VARCHAR)),
    (5, 'price_source', e.price_source),
    (6, 'collateral_bitmap', CAST(e.collateral_bitmap AS VARCHAR))
  ) AS v(place, parameter, figure)
  UNION ALL
  SELECT s.snapshot, 'market', s.market, 40 + v.place, v.parameter, v.figure
  FROM snapshots AS s
  CROSS JOIN LATERAL (VALUES
    (1, 'revision', CAST(s.revision AS VARCHAR)), (2, 'profile', s.profile),
    (3, 'truncates_lt', CAST(s.truncates_lt AS VARCHAR)),
    (4, 'close_factor', CAST(s.close_factor AS VARCHAR)), (5, 'close_basis', s.close_basis),
    (6, 'full_close_below_hf', CAST(s.full_close_below_hf AS VARCHAR)),
    (7, 'full_close_below_usd', CAST(s.full_close_below_usd AS VARCHAR)),
    (8, 'min_leftover_usd', CAST(s.min_leftover_usd AS VARCHAR)),
    (9, 'target_hf', CAST(s.target_hf AS VARCHAR)), (10, 'absorbs', CAST(s.absorbs AS VARCHAR))
  ) AS v(place, parameter, figure)
), before AS (
  SELECT p.market, p.before_block, p.after_block, f.*
  FROM pair AS p JOIN figure AS f ON f.snapshot = p.before_id
), after AS (
  SELECT p.market, p.before_block, p.after_block, f.*
  FROM pair AS p JOIN figure AS f ON f.snapshot = p.after_id
)
SELECT coalesce(a.market, b.market) AS market, coalesce(a.asset, b.asset) AS asset,
       coalesce(a.symbol, b.symbol) AS symbol, coalesce(a.parameter, b.parameter) AS parameter,
       b.figure AS before, a.figure AS after,
       coalesce(a.before_block, b.before_block) AS before_block,
       coalesce(a.after_block, b.after_block) AS after_block
FROM before AS b
FULL JOIN after AS a ON a.market = b.market AND a.asset = b.asset AND a.place = b.place
WHERE a.figure IS DISTINCT FROM b.figure
ORDER BY market, asset, coalesce(a.place, b.place)
