-- name: path_steps
-- title: The path of liquidations: the calls that efficient liquidators make on each account as one factor moves
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves
-- param: p_direction TEXT = 'down'  down or up; accounts that are liquidatable now are always included
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.2'
-- param: p_end DOUBLE = NULL  price over the price now at which the path ends; null: 0 down, 10 up
-- param: p_order TEXT = 'profit'  the pair of assets that a call takes: profit, the one whose bonus is worth most, or largest, the largest debt and the largest collateral
-- param: p_gas_usd DOUBLE = 1  MODEL: cost of a call
-- param: p_min_profit_usd DOUBLE = 0  MODEL: what a call has to earn above its cost
-- param: p_dust_usd DOUBLE = 1  MODEL: no call repays less
-- columns of: triggers() market account position absorbs
-- column: direction text now, down or up: where the step's price lies
-- column: step text call, absorb, blocked, unprofitable or bad debt
-- column: number index the account's steps in the order of the path, from 1
-- column: x multiple price of the step over the price now
-- column: trigger_price price x times the factor's highest price in any market: one axis for all
-- column: is_account count 1 on the first step of an account, else 0
-- column: risk_usd usd all collateral of the account at its first step; 0 on other steps
-- column: repaid_usd usd debt that the call repays
-- column: seize_usd usd collateral that it takes
-- column: units amount seized collateral in the factor's own assets, in units of it; null for MARKET
-- column: bought_units amount repaid debt in the factor's own assets, in units of it; null for MARKET
-- column: collateral_asset address asset that the call takes; null where it is no call
-- column: debt_asset address asset that it repays; null where it is no call
-- column: left0 usd debt that stays where the path of the account ends here is left0 + left1 · x; 0 where it goes on
-- column: left1 usd slope of left0 + left1 · x
-- column: left_cover0 usd debt that the collateral that stays pays for with its bonus is left_cover0 + left_cover1 · x; 0 where it goes on
-- column: left_cover1 usd slope of left_cover0 + left_cover1 · x
-- column: factor_price price the factor's value now: the highest of the markets'; null where no market has one
-- columns of: triggers() unit_usd
-- note: a call is made as soon as the health factor is below 1, and again while it is and as often as it falls below 1 again; it repays what the market's close rule allows (close_factor to absorbs in snapshots)
-- note: step: call = a liquidation; absorb = the protocol takes over the whole account; blocked = the contracts let nobody liquidate the account at the block; unprofitable = no call earns p_min_profit_usd above p_gas_usd; bad debt = debt without collateral
-- note: MODEL: liquidators are there at once and choose by p_order; repayments, top-ups and interest on the way are left out; what is blocked now stays blocked for accounts that are liquidatable now
-- note: never more of an asset is taken than held, nor repaid than owed; the path of an account ends where prices are not linear, and after 400 steps
WITH RECURSIVE spot AS (
  SELECT price AS factor_price
  FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
  WHERE market = 'all'
), hit AS MATERIALIZED (
  SELECT row_number() OVER (ORDER BY t.market, t.account, t.position) AS id, t.snapshot, t.market, t.account, t.position,
         t.direction, t.x, t.x_min, coalesce(t.x_max, 'inf') AS x_max, t.absorbs, t.close_factor, t.close_basis,
         coalesce(t.full_close_below_hf, 0e0) AS full_close_hf, coalesce(t.full_close_below_usd, 0e0) AS full_close_usd,
         t.min_leftover_usd, t.target_hf, t.blocked_reason <> '' AS is_blocked, s.truncates_lt,
         t.c0, t.c1, t.c_own, t.d0, t.d1, t.cover0, t.cover1, t.unit_usd
  FROM triggers(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_betas := $p_betas) AS t
  JOIN snapshots AS s ON s.snapshot = t.snapshot
  WHERE t.in_usd AND t.direction IN ('now', $p_direction)
    AND CASE WHEN $p_direction = 'up' THEN t.x <= coalesce($p_end, 10e0) ELSE t.x >= coalesce($p_end, 0e0) END
), leg AS MATERIALIZED (
  SELECT h.id, row_number() OVER (PARTITION BY h.id ORDER BY l.is_debt, l.asset) AS leg, l.is_debt, l.asset, l.usd,
         l.beta, l.own_beta, l.lt, l.bonus, h.direction = 'now' AND l.is_blocked AS is_blocked
  FROM hit AS h
  JOIN path_legs(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of) AS l
    ON l.snapshot = h.snapshot AND l.account = h.account AND l.position = h.position
  WHERE NOT h.is_blocked AND NOT h.absorbs
), walk AS (
  -- One row per balance and state of its account; `usd` is what is left of it, at the price now. At first an account
  -- is liquidatable at its trigger; `waits` counts the prices at which it was and no call paid.
  SELECT h.id, 0 AS state, h.x, true AS is_due, 0 AS waits, l.leg, l.is_debt, l.usd, l.beta, l.own_beta, l.lt, l.bonus,
         l.is_blocked, 0e0 AS moved_usd, 0e0 AS moved_own_usd
  FROM hit AS h JOIN leg AS l ON l.id = h.id
  UNION ALL
  (WITH summed AS (
     SELECT w.*,
       sum(CASE WHEN is_debt THEN 0e0 ELSE usd * (1e0 - beta) END) OVER of_account AS c0,
       sum(CASE WHEN is_debt THEN 0e0 ELSE usd * beta END) OVER of_account AS c1,
       sum(CASE WHEN is_debt THEN 0e0 ELSE usd * (1e0 - beta) * lt END) OVER of_account AS a0,
       sum(CASE WHEN is_debt THEN 0e0 ELSE usd * beta * lt END) OVER of_account AS a1,
       sum(CASE WHEN is_debt THEN usd * (1e0 - beta) ELSE 0e0 END) OVER of_account AS d0,
       sum(CASE WHEN is_debt THEN usd * beta ELSE 0e0 END) OVER of_account AS d1,
       min(CASE WHEN NOT is_debt AND usd > 0e0 THEN lt END) OVER of_account
         < max(CASE WHEN NOT is_debt AND usd > 0e0 THEN lt END) OVER of_account AS has_several_lts
     FROM walk AS w
     WHERE state < 400
     WINDOW of_account AS (PARTITION BY id)
   ), ruled AS (
     -- Where the contract truncates the average threshold to 1 bp it moves in steps: see triggers.
     -- e0 + e1 · x: the debt at which a health factor falls below 1 or, after a price at which no call paid, at which all
     -- may be repaid.
     SELECT s.*, s.d0 * CASE WHEN waits > 0 THEN h.full_close_hf ELSE 1e0 END AS e0,
            s.d1 * CASE WHEN waits > 0 THEN h.full_close_hf ELSE 1e0 END AS e1,
            h.x_min, h.x_max, h.close_factor, h.close_basis, h.full_close_hf, h.full_close_usd, h.min_leftover_usd, h.target_hf,
            CASE WHEN h.truncates_lt AND has_several_lts
                 THEN floor((a0 + a1 * s.x) / nullif(s.c0 + s.c1 * s.x, 0e0) * 1e4 + 1e-9) / 1e4 END AS t_now
     FROM summed AS s JOIN hit AS h ON h.id = s.id
   ), truncated AS (
     SELECT *,
       is_due AND waits = 0 OR coalesce(t_now * (c0 + c1 * x), a0 + a1 * x) < (e0 + e1 * x) * (1e0 - 1e-12) AS is_below,
       CASE WHEN t_now IS NOT NULL AND c0 <> 0e0 AND c1 <> 0e0 THEN 1e-4 ELSE 0e0 END AS truncation,
       CASE WHEN c0 = 0e0 OR c1 = 0e0 THEN coalesce(t_now * c0, a0) ELSE a0 END AS w0,
       CASE WHEN c0 = 0e0 OR c1 = 0e0 THEN coalesce(t_now * c1, a1) ELSE a1 END AS w1
     FROM ruled
   ), margin AS (
     SELECT *, w1 - e1 - truncation * c1 AS slope,
       CASE WHEN w0 + w1 * x - e0 - e1 * x < truncation * (c0 + c1 * x) THEN x
            ELSE (e0 - w0 + truncation * c0) / nullif(w1 - e1 - truncation * c1, 0e0) END AS x_near
     FROM truncated
   ), edge AS (
     SELECT *,
       CASE WHEN (x_near - x_root) * sign(slope) >= -1e-9 * x_near THEN x_root END AS x_on_step,
       CASE WHEN (x_near - x_edge) * sign(slope) >= -1e-9 * x_near THEN x_edge END AS x_at_end
     FROM (
       SELECT *, (e0 - t * c0) / nullif(t * c1 - e1, 0e0) AS x_root,
              (t * c0 - a0) / nullif(a1 - t * c1, 0e0) AS x_edge
       FROM (SELECT *, floor((a0 + a1 * x_near) / nullif(c0 + c1 * x_near, 0e0) * 1e4 + 1e-9) / 1e4 AS t FROM margin)
         AS stepped
     ) AS ended
   ), placed AS (
     -- y: the price of the next call; after one at which none paid, that of the full close factor.
     SELECT *,
       CASE WHEN waits > 0 AND (is_below OR full_close_hf <= 0e0) THEN NULL
            WHEN is_below THEN x
            WHEN $p_direction = 'up' AND slope < 0e0
              THEN greatest(CASE WHEN truncation = 0e0 THEN x_near
                                 ELSE least(coalesce(x_on_step, x_at_end), coalesce(x_at_end, x_on_step)) END, x)
            WHEN $p_direction <> 'up' AND slope > 0e0
              THEN least(CASE WHEN truncation = 0e0 THEN x_near
                              ELSE greatest(coalesce(x_on_step, x_at_end), coalesce(x_at_end, x_on_step)) END, x)
         END AS y
     FROM edge
   ), valued AS (
     SELECT *, usd * (1e0 - beta + beta * y) AS worth, d0 + d1 * y AS debt,
       coalesce(floor((a0 + a1 * y) / nullif(c0 + c1 * y, 0e0) * 1e4 + 1e-9) / 1e4
                * CASE WHEN t_now IS NOT NULL THEN c0 + c1 * y END, a0 + a1 * y) AS weighted
     FROM placed
     WHERE y > x_min AND y < x_max
       AND CASE WHEN $p_direction = 'up' THEN y >= x AND y <= coalesce($p_end, 10e0)
                ELSE y > 0e0 AND y <= x AND y >= coalesce($p_end, 0e0) END
   ), pair AS (
     SELECT c.id, c.leg AS c_leg, d.leg AS d_leg, c.worth AS held_usd, d.worth AS owed_usd, c.bonus, c.close_factor,
       c.full_close_usd, c.min_leftover_usd, c.target_hf,
       c.waits > 0 OR c.weighted <= c.full_close_hf * c.debt AS is_full,
       c.close_factor * CASE WHEN c.close_basis = 'position' THEN c.debt ELSE d.worth END AS share_usd,
       -- Where a call takes more of the weighted collateral than of the debt no repayment reaches the target.
       coalesce(greatest((c.target_hf * c.debt - c.weighted)
                / nullif(greatest(c.target_hf - (1e0 + c.bonus) * c.lt, 0e0), 0e0), 0e0), d.worth) AS to_target_usd
     FROM valued AS c JOIN valued AS d ON d.id = c.id
     WHERE NOT c.is_debt AND d.is_debt AND c.worth > 0e0 AND d.worth > 0e0 AND NOT c.is_blocked AND NOT d.is_blocked
   ), allowed AS (
     SELECT id, c_leg, d_leg, held_usd, owed_usd, bonus, least(repayable_usd, held_usd / (1e0 + bonus)) AS repaid_usd
     FROM (
       SELECT *,
         CASE WHEN target_hf IS NOT NULL
                THEN CASE WHEN owed_usd - to_target_usd >= coalesce(min_leftover_usd, 0e0) THEN to_target_usd ELSE owed_usd END
              WHEN is_full OR owed_usd <= share_usd OR held_usd < full_close_usd OR owed_usd < full_close_usd THEN owed_usd
              WHEN min_leftover_usd IS NULL OR share_usd * (1e0 + bonus) >= held_usd THEN share_usd
              ELSE least(share_usd, owed_usd - min_leftover_usd, (held_usd - min_leftover_usd) / (1e0 + bonus))
           END AS repayable_usd
       FROM pair
     ) AS of_rule
   ), best AS (
     -- Rounded, so that of equal pairs (1,000 USD left of each of two debts) the lower addresses are taken.
     SELECT * FROM allowed
     WHERE repaid_usd * bonus >= $p_gas_usd + $p_min_profit_usd AND repaid_usd >= $p_dust_usd
     QUALIFY row_number() OVER (
       PARTITION BY id
       ORDER BY round(CASE WHEN $p_order = 'largest' THEN owed_usd ELSE repaid_usd * bonus END, 6) DESC,
                round(held_usd, 6) DESC, round(owed_usd, 6) DESC, c_leg, d_leg) = 1
   )
   SELECT v.id, v.state + 1, v.y, v.share IS NULL, CASE WHEN v.share IS NULL THEN v.waits + 1 ELSE 0 END, v.leg, v.is_debt,
          v.usd * (1e0 - coalesce(v.share, 0e0)), v.beta, v.own_beta, v.lt, v.bonus, v.is_blocked,
          coalesce(v.worth * v.share, 0e0), coalesce(v.usd * v.share * v.own_beta, 0e0)
   FROM (
     SELECT v.*,
       CASE WHEN b.id IS NULL THEN NULL
            WHEN v.leg = b.c_leg
              THEN CASE WHEN b.repaid_usd * (1e0 + b.bonus) >= b.held_usd * (1e0 - 1e-12) THEN 1e0
                        ELSE b.repaid_usd * (1e0 + b.bonus) / b.held_usd END
            WHEN v.leg = b.d_leg
              THEN CASE WHEN b.repaid_usd >= b.owed_usd * (1e0 - 1e-12) THEN 1e0 ELSE b.repaid_usd / b.owed_usd END
            ELSE 0e0 END AS share
     FROM valued AS v LEFT JOIN best AS b ON b.id = v.id
   ) AS v
   WHERE v.share IS NOT NULL OR v.waits = 0)
), states AS (
  SELECT id, state, min(x) AS x, bool_or(is_due) AS is_due, max(state) OVER (PARTITION BY id) = state AS is_last,
         sum(CASE WHEN is_debt THEN 0e0 ELSE moved_usd END) AS seize_usd,
         sum(CASE WHEN is_debt THEN moved_usd ELSE 0e0 END) AS repaid_usd,
         sum(CASE WHEN is_debt THEN 0e0 ELSE moved_own_usd END) AS own_usd,
         sum(CASE WHEN is_debt THEN moved_own_usd ELSE 0e0 END) AS bought_own_usd,
         max(CASE WHEN NOT is_debt AND moved_usd > 0e0 THEN leg END) AS c_leg,
         max(CASE WHEN is_debt AND moved_usd > 0e0 THEN leg END) AS d_leg,
         sum(CASE WHEN is_debt THEN 0e0 ELSE usd * (1e0 - beta + beta * x) END) AS held_usd,
         bool_or(NOT is_debt AND NOT is_blocked AND usd > 0e0) AND bool_or(is_debt AND NOT is_blocked AND usd > 0e0) AS is_free,
         sum(CASE WHEN is_debt THEN 0e0 ELSE usd * (1e0 - beta + beta * x) * lt END) AS weighted_usd,
         sum(CASE WHEN is_debt THEN usd * (1e0 - beta) ELSE 0e0 END) AS d0,
         sum(CASE WHEN is_debt THEN usd * beta ELSE 0e0 END) AS d1,
         sum(CASE WHEN is_debt THEN 0e0 ELSE usd * (1e0 - beta) / (1e0 + bonus) END) AS cover0,
         sum(CASE WHEN is_debt THEN 0e0 ELSE usd * beta / (1e0 + bonus) END) AS cover1
  FROM walk GROUP BY id, state
), step AS (
  SELECT id, state * 2 AS place, 'call' AS step, x, repaid_usd, seize_usd, own_usd, bought_own_usd, c_leg, d_leg,
         0e0 AS left0, 0e0 AS left1, 0e0 AS left_cover0, 0e0 AS left_cover1
  FROM states WHERE repaid_usd > 0e0
  UNION ALL
  -- Where the path of an account ends below a health factor of 1.
  SELECT id, state * 2 + 1, CASE WHEN held_usd <= 0e0 THEN 'bad debt' WHEN is_free THEN 'unprofitable' ELSE 'blocked' END, x, 0e0, 0e0, 0e0, 0e0, NULL, NULL,
         d0, d1, cover0, cover1
  FROM states
  WHERE is_last AND d0 + d1 * x > 0e0 AND (is_due AND state > 0 OR weighted_usd < (d0 + d1 * x) * (1e0 - 1e-12))
  UNION ALL
  SELECT id, 0, 'absorb', x, 0e0, c0 + c1 * x, c_own, 0e0, NULL, NULL,
         greatest(d0 + d1 * x - cover0 - cover1 * x, 0e0), 0e0, 0e0, 0e0
  FROM hit WHERE absorbs AND NOT is_blocked
  UNION ALL
  SELECT id, 0, 'blocked', x, 0e0, 0e0, 0e0, 0e0, NULL, NULL, d0, d1, cover0, cover1 FROM hit WHERE is_blocked
), numbered AS (
  SELECT *, row_number() OVER (PARTITION BY id ORDER BY place) AS number FROM step
)
SELECT h.market, h.account, h.position, h.absorbs,
       CASE WHEN h.direction = 'now' AND n.x = 1e0 THEN 'now' ELSE $p_direction END AS direction,
       n.step, n.number, n.x, n.x * spot.factor_price AS trigger_price,
       CASE WHEN n.number = 1 THEN 1 ELSE 0 END AS is_account,
       CASE WHEN n.number = 1 THEN h.c0 + h.c1 * n.x ELSE 0e0 END AS risk_usd,
       n.repaid_usd, n.seize_usd, n.own_usd / nullif(h.unit_usd, 0e0) AS units,
       n.bought_own_usd / nullif(h.unit_usd, 0e0) AS bought_units,
       c.asset AS collateral_asset, d.asset AS debt_asset,
       n.left0, n.left1, n.left_cover0, n.left_cover1, spot.factor_price, h.unit_usd
FROM numbered AS n
JOIN hit AS h ON h.id = n.id
LEFT JOIN leg AS c ON c.id = n.id AND c.leg = n.c_leg
LEFT JOIN leg AS d ON d.id = n.id AND d.leg = n.d_leg
CROSS JOIN spot
