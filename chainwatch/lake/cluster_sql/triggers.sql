-- name: triggers
-- title: Trigger of each account as one factor moves (x = price / price now)
-- param: p_factor TEXT = 'BTC'  which factor moves, or MARKET
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
WITH asset_move AS (
  SELECT snapshot, asset, beta, own_beta, cap_x, floor_x, step, factor, factor_price, unit_usd, deviation
  FROM moves(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of)
), newest AS (
  -- The snapshots are selected once, in `moves`: a second selection may be newer, while one is stored.
  SELECT s.snapshot, s.market, s.block_number, s.block_time, s.base_decimals, s.quote, s.truncates_lt, s.close_factor,
         s.close_basis, s.full_close_below_hf, s.full_close_below_usd, s.min_leftover_usd, s.target_hf,
         s.absorbs, s.blocked_reason AS market_refusal, s.blocked_above_hf AS market_refuses_above_hf,
         -- Where the rule names no such health factor, x_full is that of 0.95.
         coalesce(s.full_close_below_hf, 0.95e0) AS full_close_hf
  FROM (SELECT DISTINCT snapshot FROM asset_move) AS m
  JOIN snapshots AS s ON s.snapshot = m.snapshot
), spot AS (
  SELECT snapshot, max(factor) AS factor, max(factor_price) AS price, max(unit_usd) AS unit_usd, max(deviation) AS deviation
  FROM asset_move WHERE factor IS NOT NULL GROUP BY snapshot
), leg AS (
  -- What has no value in USD counts in units of its market: a trigger is the same in any currency.
  SELECT l.snapshot, l.account, l.position, l.side, l.worth AS usd, l.in_usd, l.amount, l.base_decimals,
         CASE WHEN l.side = 'debt' THEN r.blocked_debt ELSE r.blocked_collateral END IS NOT NULL AS blocked,
         CASE WHEN l.category_priced OR m.asset IS NULL THEN 0e0 ELSE m.beta END AS beta,
         l.worth * CASE WHEN l.category_priced OR m.asset IS NULL THEN 0e0 ELSE coalesce(m.beta, 0e0) END
           AS moving_usd,
         CASE WHEN l.category_priced THEN 0e0 ELSE l.worth * greatest(coalesce(m.own_beta, 0e0), 0e0) END AS own_usd,
         CASE WHEN NOT coalesce(l.category_priced, false) THEN m.cap_x END AS cap_x,
         CASE WHEN NOT coalesce(l.category_priced, false) THEN m.floor_x END AS floor_x,
         coalesce(m.step, 0e0) AS step,
         l.lt_bps / 10000e0 AS lt, l.bonus_bps / 10000e0 AS bonus,
         -- Of balances worth the same, the one with the higher threshold counts as the largest.
         l.worth * (1e0 + 1e-12 * l.lt_bps / 10000e0 + 1e-13 * coalesce(m.beta, 0e0)
                  + 1e-14 * coalesce(m.own_beta, 0e0)) + 1e-12 * l.lt_bps / 10000e0 AS rank_usd
  FROM (
    SELECT l.snapshot, l.account, l.position, l.side, l.asset, l.amount, l.lt_bps, l.bonus_bps, l.category_priced,
           l.usd IS NOT NULL AS in_usd, c.base_decimals,
           coalesce(l.usd, CAST(l.value AS DOUBLE) / power(10e0, c.base_decimals)) AS worth
    FROM newest AS c JOIN legs AS l ON l.snapshot = c.snapshot
    WHERE l.side <> 'idle'
  ) AS l
  LEFT JOIN asset_move AS m ON m.snapshot = l.snapshot AND m.asset = l.asset
  LEFT JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
), pos AS (
  -- Collateral c, threshold-weighted collateral a, debt d: each as constant + slope · x.
  SELECT snapshot, account, position, count(*) AS legs,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE usd - moving_usd END)        AS c0,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE moving_usd END)              AS c1,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE own_usd END)                 AS c_own,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE (usd - moving_usd) * lt END) AS a0,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE moving_usd * lt END)         AS a1,
    sum(CASE WHEN side = 'debt' THEN usd - moving_usd ELSE 0e0 END)        AS d0,
    sum(CASE WHEN side = 'debt' THEN moving_usd ELSE 0e0 END)              AS d1,
    sum(CASE WHEN side = 'debt' THEN own_usd ELSE 0e0 END)                 AS d_own,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE (usd - moving_usd) / (1e0 + bonus) END) AS cover0,
    sum(CASE WHEN side = 'debt' THEN 0e0 ELSE moving_usd / (1e0 + bonus) END)         AS cover1,
    min(CASE WHEN side <> 'debt' THEN lt END) AS lt_min,
    max(CASE WHEN side <> 'debt' THEN lt END) AS lt_max,
    max(beta) AS beta_max, min(beta) AS beta_min, min(cap_x) AS cap_x, max(floor_x) AS floor_x,
    -- Prices have 8 decimals or more; what they are made of may have rounded more coarsely.
    max(CASE WHEN beta <> 0e0 AND usd > 0e0 THEN greatest(CASE WHEN in_usd THEN 1e-8 * amount / usd ELSE 0e0 END, step) ELSE 0e0 END) AS tick,
    min(CASE WHEN in_usd THEN 1 ELSE 0 END) = 1 AS in_usd, max(base_decimals) AS base_decimals,
    -- What does not move in USD may be counted in another unit, in few units of it.
    sum(CASE WHEN beta = 0e0 AND usd > 0e0 THEN usd * step ELSE 0e0 END) AS step_usd,
    max_by(moving_usd, CASE WHEN side = 'debt' THEN rank_usd END) AS debt_top_moving_usd,
    max_by(own_usd, CASE WHEN side = 'debt' THEN rank_usd END) AS debt_top_own_usd,
    max(CASE WHEN side = 'debt' THEN usd END) AS debt_top_usd,
    -- An account with debt may hold nothing: its collateral is 0, not unknown.
    coalesce(max_by(moving_usd, CASE WHEN side <> 'debt' THEN rank_usd END), 0e0) AS collateral_top_moving_usd,
    coalesce(max_by(own_usd, CASE WHEN side <> 'debt' THEN rank_usd END), 0e0) AS collateral_top_own_usd,
    coalesce(max_by(lt, CASE WHEN side <> 'debt' THEN rank_usd END), 0e0) AS collateral_top_lt,
    coalesce(max_by(bonus, CASE WHEN side <> 'debt' THEN rank_usd END), 0e0) AS collateral_top_bonus,
    coalesce(max(CASE WHEN side <> 'debt' THEN usd END), 0e0) AS collateral_top_usd,
    max_by(blocked, CASE WHEN side = 'debt' THEN rank_usd END) AS debt_top_blocked,
    max_by(blocked, CASE WHEN side <> 'debt' THEN rank_usd END) AS collateral_top_blocked,
    sum(CASE WHEN side = 'debt' AND blocked THEN usd ELSE 0e0 END)      AS debt_blocked_usd,
    sum(CASE WHEN side = 'debt' AND blocked THEN own_usd ELSE 0e0 END)  AS debt_blocked_own_usd,
    sum(CASE WHEN side <> 'debt' AND blocked THEN usd ELSE 0e0 END)     AS collateral_blocked_usd,
    sum(CASE WHEN side <> 'debt' AND blocked THEN own_usd ELSE 0e0 END) AS collateral_blocked_own_usd,
    max(CASE WHEN usd IS NULL OR beta IS NULL THEN 1 ELSE 0 END) AS unpriced
  FROM leg GROUP BY snapshot, account, position
), ruled AS (
  -- Truncating the average threshold to 1 bp matters only where thresholds differ.
  SELECT p.*, c.market, c.block_number, c.block_time, c.full_close_hf, c.close_factor, c.close_basis,
    c.full_close_below_hf, c.full_close_below_usd, c.min_leftover_usd, c.target_hf, c.absorbs,
    c.market_refusal, c.market_refuses_above_hf,
    s.factor, s.price AS factor_price, s.unit_usd, s.deviation,
    -- In a market that counts in another currency a price may move that does not in USD.
    CASE WHEN c.quote <> 'USD' THEN p.step_usd ELSE 0e0 END AS quoted_step_usd,
    CASE WHEN c.truncates_lt AND p.lt_max > p.lt_min
      THEN floor((p.a0 + p.a1) / nullif(p.c0 + p.c1, 0e0) * 1e4 + 1e-9) / 1e4 END AS t_now
  FROM pos AS p
  JOIN newest AS c ON c.snapshot = p.snapshot
  LEFT JOIN spot AS s ON s.snapshot = p.snapshot
), truncated AS (
  -- w0 + w1 · x: what the thresholds make of the collateral. Where all or none of it moves, the
  -- average stays as it is; else it moves in steps, and truncating takes up to `truncation` off.
  SELECT *,
    CASE WHEN t_now IS NOT NULL AND c0 <> 0e0 AND c1 <> 0e0 THEN 1e-4 ELSE 0e0 END AS truncation,
    CASE WHEN c0 = 0e0 OR c1 = 0e0 THEN coalesce(t_now * c0, a0) ELSE a0 END AS w0,
    CASE WHEN c0 = 0e0 OR c1 = 0e0 THEN coalesce(t_now * c1, a1) ELSE a1 END AS w1
  FROM ruled
), margin AS (
  -- Thresholds times collateral minus debt at x = 1, and its slope. Nothing can happen before the
  -- margin is down to what truncating can take, at x_near.
  SELECT *,
    coalesce(t_now * (c0 + c1), a0 + a1) - d0 - d1 AS m1,
    w1 - d1 - truncation * c1 AS slope,
    CASE WHEN w0 + w1 - d0 - d1 < truncation * (c0 + c1) THEN 1e0
         ELSE (d0 - w0 + truncation * c0) / nullif(w1 - d1 - truncation * c1, 0e0) END AS x_near,
    (full_close_hf * d0 - a0) / nullif(a1 - full_close_hf * d1, 0e0) AS x_full_weighted
  FROM truncated
), step AS (
  SELECT *, floor((a0 + a1 * x_near) / nullif(c0 + c1 * x_near, 0e0) * 1e4 + 1e-9) / 1e4 AS t
  FROM margin
), edge AS (
  -- On this step of the average the margin reaches zero at x_root, or the step ends at x_edge and
  -- the next one down starts below zero: whichever comes first. What lies before x_near is neither.
  SELECT *,
    CASE WHEN (x_near - x_root) * sign(slope) >= -1e-9 * x_near THEN x_root END AS x_on_step,
    CASE WHEN (x_near - x_edge) * sign(slope) >= -1e-9 * x_near THEN x_edge END AS x_at_end
  FROM (
    SELECT *, (d0 - t * c0) / nullif(t * c1 - d1, 0e0) AS x_root,
           (t * c0 - a0) / nullif(a1 - t * c1, 0e0) AS x_edge
    FROM step
  ) AS ended
), solved AS (
  SELECT *,
    CASE WHEN truncation = 0e0 THEN x_near
         WHEN slope > 0e0 THEN greatest(coalesce(x_on_step, x_at_end), coalesce(x_at_end, x_on_step))
         ELSE least(coalesce(x_on_step, x_at_end), coalesce(x_at_end, x_on_step)) END AS x_raw,
    greatest(CASE WHEN beta_max > 1e0 THEN 1e0 - 1e0 / nullif(beta_max, 0e0) + 1e-9 ELSE 0e0 END,
             coalesce(floor_x + 1e-9, 0e0)) AS x_min,
    least(coalesce(CASE WHEN beta_min < 0e0 THEN 1e0 - 1e0 / nullif(beta_min, 0e0) END, cap_x),
          coalesce(cap_x, CASE WHEN beta_min < 0e0 THEN 1e0 - 1e0 / nullif(beta_min, 0e0) END))
      - 1e-9 AS x_max
  FROM edge
), classed AS (
  SELECT s.*,
    -- Where there are balances without an account's row (a state between two snapshots), the market decides.
    CASE WHEN e.account IS NOT NULL THEN e.blocked_reason
         WHEN s.market_refuses_above_hf IS NULL OR s.m1 >= (s.market_refuses_above_hf - 1e0) * (s.d0 + s.d1)
           THEN s.market_refusal END AS refusal,
    CASE WHEN s.unpriced = 1 THEN 'n/a'
         WHEN s.d0 + s.d1 <= 0e0 THEN 'never'
         -- The contract's verdict decides, with the interest that a liquidation accrues first, and
         -- within 1e-9 of the threshold its own integer.
         WHEN coalesce(e.liquidatable_accrued, e.liquidatable,
                       CASE WHEN abs(s.m1) <= 1e-9 * (s.d0 + s.d1) THEN e.hf_wad < 1000000000000000000 END,
                       s.m1 < 0e0) THEN 'now'
         WHEN s.beta_max = 0e0 AND s.beta_min = 0e0 THEN 'flat'
         WHEN s.slope > 0e0 AND s.x_raw > 0e0
           THEN CASE WHEN s.x_raw <= greatest(s.x_min, 1e-9) THEN 'outside' ELSE 'down' END
         WHEN s.slope < 0e0 AND s.x_raw > 0e0
           THEN CASE WHEN s.x_raw >= s.x_max THEN 'outside' ELSE 'up' END
         ELSE 'never' END AS direction
  FROM solved AS s
  LEFT JOIN account_health AS e
    ON e.snapshot = s.snapshot AND e.account = s.account AND e.position = s.position
), placed AS (
  -- An account past the threshold that is not liquidatable becomes so at the next move.
  SELECT *,
    CASE direction WHEN 'now' THEN 1e0 WHEN 'down' THEN least(x_raw, 1e0) WHEN 'up' THEN greatest(x_raw, 1e0)
      END AS x_hit
  FROM classed
), full_close AS (
  -- The health factor only falls on from the trigger, or, if it is passed, from the price now.
  SELECT *,
    CASE WHEN x_hit = 1e0 AND m1 + d0 + d1 <= full_close_hf * (d0 + d1) THEN 1e0
         WHEN x_full_weighted > 0e0 AND (direction = 'now' OR (direction = 'down' AND x_full_weighted <= x_hit)
                                      OR (direction = 'up' AND x_full_weighted >= x_hit))
           THEN x_full_weighted END AS x_close
  FROM placed
), ranged AS (
  SELECT *, x_close > x_min AND (x_close <= 1e0 OR x_max IS NULL OR x_close < x_max) AS full_inside
  FROM full_close
)
SELECT market, account, position, factor, direction,
       x_hit AS x, factor_price * x_hit AS trigger_price,
       CASE direction WHEN 'down' THEN factor_price * x_hit * (1e0 - deviation)
                      WHEN 'up' THEN factor_price * x_hit * (1e0 + deviation) END AS trigger_price_late,
       CASE WHEN direction IN ('down', 'up')
            THEN (((legs + 2) * CASE WHEN in_usd THEN 1e-8 ELSE power(10e0, -base_decimals) END + quoted_step_usd) / nullif(abs(a1 - d1), 0e0) + tick)
                 * greatest(1e0, 1e0 / nullif(x_hit, 0e0)) END AS tolerance,
       CASE WHEN direction = 'now' AND (d0 - a0) / nullif(a1 - d1, 0e0) > x_min
                 AND (x_max IS NULL OR (d0 - a0) / nullif(a1 - d1, 0e0) < x_max)
            THEN (d0 - a0) / nullif(a1 - d1, 0e0) END AS recovers_at,
       (m1 + d0 + d1) / nullif(d0 + d1, 0e0) AS hf,
       CASE WHEN in_usd THEN c0 + c1 END AS collateral_usd, CASE WHEN in_usd THEN d0 + d1 END AS debt_usd,
       CASE WHEN in_usd THEN c1 END AS collateral_moving_usd, CASE WHEN in_usd THEN d1 END AS debt_moving_usd,
       in_usd, a0, a1, d0, d1, c0, c1, c_own, d_own,
       CASE WHEN full_inside THEN x_close END AS x_full, coalesce(NOT full_inside, false) AS full_outside,
       cover0, cover1, x_min, x_max,
       collateral_top_usd, collateral_top_moving_usd, collateral_top_own_usd, collateral_top_lt, collateral_top_bonus,
       debt_top_usd, debt_top_moving_usd, debt_top_own_usd, factor_price, unit_usd,
       close_factor, close_basis, full_close_below_hf, full_close_below_usd, min_leftover_usd, target_hf,
       absorbs, CASE WHEN direction = 'now' THEN coalesce(refusal, '') ELSE '' END AS blocked_reason,
       coalesce(debt_top_blocked OR collateral_top_blocked, false) AS pair_blocked,
       collateral_blocked_usd, collateral_blocked_own_usd, debt_blocked_usd, debt_blocked_own_usd,
       block_number, block_time, snapshot
FROM ranged
