-- name: forced_sales
-- title: What liquidators may take from each account as a factor moves: one row per step of the wall
-- param: p_factor TEXT = 'BTC'  which factor moves
-- param: p_way TEXT = 'down'  down, up or both; what is liquidatable already is always there
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block not later than this; null: newest of all
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.2'
-- note: step: trigger = the first liquidation; rest = what the full close factor adds at health factor 0.95; heal-cap = healing takes all collateral from here on (nothing is sold)
-- note: units: what is seized of the factor's own assets, in units of the factor (of the token, for a ratio) at the trigger
-- note: trigger_price: x times the factor's highest price in any market, so that markets whose prices differ are on one axis
-- note: paused: of what is liquidatable already, nothing is seized where the reserve of the largest collateral or debt is paused
-- portable: yes
WITH spot AS (
  SELECT price AS factor_price
  FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
  WHERE market = 'all'
), t AS (
  SELECT *, way AS kind
  FROM triggers(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_betas := $p_betas)
  WHERE way = 'now' OR (way = 'down' AND $p_way IN ('down', 'both'))
     OR (way = 'up' AND $p_way IN ('up', 'both'))
), priced AS (
  -- x, the point where the full close factor applies, and the terms of seize_to_heal, which is
  -- linear in x: heal0 + heal1 · x from the trigger on, until it takes all collateral at x_cap.
  SELECT t.*,
    CASE WHEN kind = 'now' THEN 1e0 ELSE x END AS x_hit,
    CASE WHEN collateral_top_usd > 0e0 THEN
      1e0 - (1e0 + collateral_top_bonus) * collateral_top_lt END AS heal_gap
  FROM t
), closed AS (
  -- What one call may repay at the trigger (close factor), by the pool's rule.
  SELECT *,
    CASE WHEN close_rule IN ('half', 'reserve-half') THEN 0.5e0 * debt_hit_usd
         WHEN close_rule = 'position-half' AND collateral_hit_usd >= 2000e0
              AND debt_hit_usd >= 2000e0 AND debt_hit_usd > half_usd THEN
           -- Half of all debt, and where that takes neither side whole, a thousand dollars of each
           -- must be left: less is repaid then, since the pool refuses to leave dust.
           CASE WHEN half_usd * (1e0 + collateral_top_bonus) >= collateral_hit_usd THEN half_usd
                ELSE least(half_usd, debt_hit_usd - 1000e0,
                           (collateral_hit_usd - 1000e0) / (1e0 + collateral_top_bonus)) END
         -- up to the target health factor, unless less than a thousand dollars would be left
         WHEN target IS NOT NULL AND debt_hit_usd - to_target_usd >= 1000e0 THEN to_target_usd
         ELSE debt_hit_usd END AS repayable_usd
  FROM (
    SELECT *, 0.5e0 * (d0 + d1 * x_hit) AS half_usd,
           debt_top_usd + debt_top_moving_usd * (x_hit - 1e0) AS debt_hit_usd,
           collateral_top_usd + collateral_top_moving_usd * (x_hit - 1e0) AS collateral_hit_usd,
           (target * (d0 + d1 * x_hit) - a0 - a1 * x_hit)
             / nullif(target - (1e0 + collateral_top_bonus) * collateral_top_lt, 0e0)
             AS to_target_usd
    FROM (
      SELECT *, CASE WHEN close_rule LIKE 'target %'
                  THEN CAST(substr(close_rule, 8) AS DOUBLE) END AS target
      FROM priced
    ) AS aimed
  ) AS hit
), first AS (
  -- What the first liquidation takes, and how much of that is the factor's own assets: of one
  -- pair of assets, or of the whole account where the rule is for the account.
  SELECT *,
    CASE WHEN kind = 'now' AND paused THEN 0e0
         WHEN close_rule = 'absorb' THEN c0 + c1 * x_hit
         WHEN close_rule = 'whole'
           THEN least((d0 + d1 * x_hit) * (1e0 + bonus), c0 + c1 * x_hit)
         ELSE least(repayable_usd * (1e0 + collateral_top_bonus), collateral_hit_usd)
    END AS first_usd,
    CASE WHEN close_rule IN ('absorb', 'whole')
           THEN CASE WHEN c0 + c1 * x_hit > 0e0 THEN c_own * x_hit / (c0 + c1 * x_hit) ELSE 0e0 END
         WHEN collateral_hit_usd > 0e0 THEN collateral_top_own_usd * x_hit / collateral_hit_usd
         ELSE 0e0 END AS first_own,
    -- What is repaid of the factor's own assets has to be bought first.
    CASE WHEN close_rule = 'absorb' OR (kind = 'now' AND paused) THEN 0e0
         WHEN close_rule = 'whole'
           THEN least(d0 + d1 * x_hit, (c0 + c1 * x_hit) / (1e0 + bonus))
                * d_own * x_hit / nullif(d0 + d1 * x_hit, 0e0)
         ELSE least(repayable_usd, collateral_hit_usd / (1e0 + collateral_top_bonus))
                * debt_top_own_usd * x_hit / nullif(debt_hit_usd, 0e0) END AS first_bought_usd
  FROM closed
), sized AS (
  SELECT *,
    -- Healing starts from nothing at the trigger, also where truncating put that before the point
    -- at which debt and weighted collateral are equal.
    CASE WHEN heals THEN (1e0 + collateral_top_bonus) / heal_gap
                * CASE WHEN kind = 'now' THEN d0 - a0 ELSE (a1 - d1) * x_hit END
         ELSE c0 + c1 * x_hit END AS heal0,
    CASE WHEN heals THEN (1e0 + collateral_top_bonus) / heal_gap * (d1 - a1)
         ELSE 0e0 END AS heal1,
    -- health factor 0.95 lies beyond the trigger; for accounts past it, and where it is never
    -- reached, see the step `rest` below
    CASE WHEN close_rule NOT IN ('reserve-half', 'position-half') THEN NULL
         WHEN kind = 'now' THEN CASE WHEN hf <= 0.95e0 AND NOT paused THEN 1e0 END
         WHEN kind = 'down' AND x_full > 0e0 AND x_full <= x THEN x_full
         WHEN kind = 'up' AND x_full >= x THEN x_full END AS x_rest
  FROM (SELECT *, heal_gap > 1e-9 AND close_rule <> 'absorb' AS heals FROM first) AS f
), capped AS (
  SELECT *, CASE WHEN kind = 'now' THEN 1e0 ELSE
      (c0 - heal0) / nullif(heal1 - c1, 0e0) END AS x_cap_raw,
    CASE WHEN kind = 'now' THEN least(heal0 + heal1, c0 + c1) END AS heal_now
  FROM sized
), step AS (
  -- Up to three steps per account: the trigger, the full close factor, the cap of seize_to_heal.
  SELECT market, account, close_rule, kind, unit_usd, 'trigger' AS step, x_hit AS x,
         1 AS is_account, c0 + c1 * x_hit AS risk_usd, first_usd AS seize_usd,
         first_usd * first_own AS seize_own_usd, first_bought_usd AS bought_own_usd, heal0, heal1, heal_now
  FROM capped
  UNION ALL
  SELECT market, account, close_rule, kind, unit_usd, 'rest', x_rest, 0, 0e0,
         greatest(least((d0 + d1 * x_rest) * (1e0 + bonus), c0 + c1 * x_rest) - first_usd, 0e0),
         greatest(least((d0 + d1 * x_rest) * (1e0 + bonus), c0 + c1 * x_rest) - first_usd, 0e0)
           * CASE WHEN c0 + c1 * x_rest > 0e0 THEN c_own * x_rest / (c0 + c1 * x_rest) ELSE 0e0 END,
         greatest(least((d0 + d1 * x_rest) * (1e0 + bonus), c0 + c1 * x_rest) - first_usd, 0e0)
           / (1e0 + bonus) * d_own * x_rest / nullif(d0 + d1 * x_rest, 0e0),
         0e0, 0e0, 0e0
  FROM capped WHERE x_rest IS NOT NULL
  UNION ALL
  SELECT market, account, close_rule, kind, unit_usd, 'heal-cap', x_cap_raw, 0, 0e0,
         0e0, 0e0, 0e0, c0 + c1 * x_cap_raw - heal0, -heal1, 0e0
  FROM capped
  WHERE heals AND ((kind = 'down' AND x_cap_raw > 0e0 AND x_cap_raw < x_hit)
                          OR (kind = 'up' AND x_cap_raw > x_hit))
)
SELECT market, account, close_rule, kind AS way, step, x, x * spot.factor_price AS trigger_price,
       is_account, risk_usd, seize_usd, seize_own_usd / nullif(unit_usd * x, 0e0) AS units,
       bought_own_usd / nullif(unit_usd * x, 0e0) AS bought_units,
       heal0, heal1, heal_now, spot.factor_price, unit_usd
FROM step CROSS JOIN spot
