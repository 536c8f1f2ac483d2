-- name: forced_sales_from_legs
-- title: Collateral that liquidators may take from each account as a factor moves, one row per step
-- param: p_factor TEXT = 'BTC'  which factor moves
-- param: p_direction TEXT = 'down'  down, up or both; accounts that are liquidatable now are always included
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.2'
WITH spot AS (
  SELECT price AS factor_price
  FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
  WHERE market = 'all'
), hit AS (
  SELECT *, direction AS kind, x AS x_hit,
    absorbs OR (close_basis = 'position' AND close_factor = 1e0) AS by_account,
    -- What is not blocked now: collateral, debt, and what both let liquidators take.
    c0 + c1 - collateral_blocked_usd AS free_usd, c_own - collateral_blocked_own_usd AS free_own_usd,
    d0 + d1 - debt_blocked_usd AS free_debt_usd, d_own - debt_blocked_own_usd AS free_debt_own_usd,
    CASE WHEN direction <> 'now' THEN NULL
         WHEN blocked_reason <> '' THEN 0e0
         WHEN collateral_blocked_usd > 0e0 OR debt_blocked_usd > 0e0
           THEN greatest(least(c0 + c1 - collateral_blocked_usd,
                               (d0 + d1 - debt_blocked_usd) * (1e0 + collateral_top_bonus)), 0e0)
      END AS limit_usd,
    CASE WHEN collateral_top_usd > 0e0 THEN
      1e0 - (1e0 + collateral_top_bonus) * collateral_top_lt END AS heal_gap
  FROM triggers(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_betas := $p_betas)
  WHERE in_usd AND (direction = 'now' OR (direction = 'down' AND $p_direction IN ('down', 'both'))
     OR (direction = 'up' AND $p_direction IN ('up', 'both')))
), closed AS (
  -- What one call may repay at the trigger, by the market's rule.
  SELECT *,
    CASE WHEN target_hf IS NOT NULL THEN
           -- up to the target health factor, or all where too little would be left
           CASE WHEN debt_hit_usd - to_target_usd >= coalesce(min_leftover_usd, 0e0) THEN to_target_usd
                ELSE debt_hit_usd END
         WHEN debt_hit_usd <= share_usd OR collateral_hit_usd < full_close_below_usd
              OR debt_hit_usd < full_close_below_usd THEN debt_hit_usd
         WHEN min_leftover_usd IS NULL
              OR share_usd * (1e0 + collateral_top_bonus) >= collateral_hit_usd THEN share_usd
         -- Where neither side is taken whole, so much of each must be left: less is repaid then,
         -- since the contract refuses to leave dust.
         ELSE least(share_usd, debt_hit_usd - min_leftover_usd,
                    (collateral_hit_usd - min_leftover_usd) / (1e0 + collateral_top_bonus))
      END AS repayable_usd
  FROM (
    SELECT *, close_factor * CASE WHEN close_basis = 'position' THEN d0 + d1 * x_hit
              ELSE debt_top_usd + debt_top_moving_usd * (x_hit - 1e0) END AS share_usd,
           debt_top_usd + debt_top_moving_usd * (x_hit - 1e0) AS debt_hit_usd,
           collateral_top_usd + collateral_top_moving_usd * (x_hit - 1e0) AS collateral_hit_usd,
           (target_hf * (d0 + d1 * x_hit) - a0 - a1 * x_hit)
             / nullif(target_hf - (1e0 + collateral_top_bonus) * collateral_top_lt, 0e0)
             AS to_target_usd
    FROM hit
  ) AS at_hit
), first AS (
  -- The share of its collateral that the first call takes, and of its debt that it repays: of one
  -- pair of assets, or of the whole account where the rule is for the account.
  SELECT *,
    coalesce(CASE WHEN absorbs THEN 1e0
                  WHEN by_account
                    THEN least((d0 + d1 * x_hit) / nullif(cover0 + cover1 * x_hit, 0e0), 1e0)
                  ELSE least(repayable_usd * (1e0 + collateral_top_bonus)
                             / nullif(collateral_hit_usd, 0e0), 1e0) END, 0e0) AS taken,
    -- What is repaid of the factor's own assets has to be bought first.
    coalesce(CASE WHEN absorbs THEN 0e0
                  WHEN by_account
                    THEN least((cover0 + cover1 * x_hit) / nullif(d0 + d1 * x_hit, 0e0), 1e0)
                  ELSE least(repayable_usd, collateral_hit_usd / (1e0 + collateral_top_bonus))
                         / nullif(debt_hit_usd, 0e0) END, 0e0) AS repaid,
    CASE WHEN full_close_below_hf IS NOT NULL THEN x_full END AS x_rest
  FROM closed
), left_over AS (
  -- Collateral, what it pays for, and debt that the first call leaves, at the full close factor.
  SELECT *,
    CASE WHEN by_account THEN c0 + c1 * x_hit ELSE collateral_hit_usd END AS part_usd,
    CASE WHEN by_account THEN c_own ELSE collateral_top_own_usd END AS part_own_usd,
    CASE WHEN by_account THEN d_own ELSE debt_top_own_usd END AS debt_part_own_usd,
    greatest(c0 + c1 * x_rest - taken * collateral_rest_usd, 0e0) AS left_usd,
    greatest(cover0 + cover1 * x_rest - taken * collateral_rest_usd / (1e0 + collateral_top_bonus),
             0e0) AS left_cover_usd,
    greatest(d0 + d1 * x_rest - repaid * debt_rest_usd, 0e0) AS left_debt_usd
  FROM (
    SELECT *, collateral_top_usd + collateral_top_moving_usd * (x_rest - 1e0) AS collateral_rest_usd,
           debt_top_usd + debt_top_moving_usd * (x_rest - 1e0) AS debt_rest_usd
    FROM first
  ) AS at_rest
), sized AS (
  SELECT *,
    coalesce(least(left_debt_usd / nullif(left_cover_usd, 0e0), 1e0), 0e0) AS rest_taken,
    coalesce(least(left_cover_usd / nullif(left_debt_usd, 0e0), 1e0), 0e0) AS rest_repaid,
    -- seize_to_heal is linear: heal0 + heal1 · x from the trigger on, until it takes everything.
    -- It starts from nothing at the trigger, also where truncating put that before the point at
    -- which debt and weighted collateral are equal; from what is missing where it is passed. What
    -- is liquidatable in spite of enough collateral needs nothing up to x_heal, where that ends.
    CASE WHEN heals AND kind = 'now' THEN (1e0 + collateral_top_bonus) / heal_gap * (d0 - a0)
         WHEN heals THEN (1e0 + collateral_top_bonus) / heal_gap
                * (greatest(d0 + d1 * x_hit - a0 - a1 * x_hit, 0e0) + (a1 - d1) * x_hit)
         ELSE c0 + c1 * x_hit END AS heal0,
    CASE WHEN kind = 'now' AND d0 + d1 < a0 + a1 THEN (a0 - d0) / nullif(d1 - a1, 0e0)
         ELSE x_hit END AS x_heal,
    CASE WHEN heals THEN (1e0 + collateral_top_bonus) / heal_gap * (d1 - a1) ELSE 0e0 END AS heal1
  FROM (SELECT *, heal_gap > 1e-9 AND NOT absorbs AS heals FROM left_over) AS f
), healing AS (
  SELECT *, CASE WHEN kind <> 'now' THEN kind WHEN heal1 < 0e0 THEN 'down' ELSE 'up' END AS heal_direction,
    (c0 - heal0) / nullif(heal1 - c1, 0e0) AS x_cap,
    CASE WHEN kind = 'now' THEN greatest(least(heal0 + heal1, c0 + c1), 0e0) ELSE 0e0 END AS heal_now,
    heals AND (kind <> 'now' OR heal0 + heal1 < c0 + c1) AND heal1 <> 0e0
      AND (x_heal = x_hit OR (x_heal > x_min AND (x_max IS NULL OR x_heal < x_max))) AS heals_on
  FROM sized
), ended AS (
  SELECT *,
    CASE WHEN heal_direction = 'down' THEN greatest(CASE WHEN x_cap < x_heal THEN x_cap ELSE 0e0 END, x_min)
         WHEN x_cap > x_heal THEN least(x_cap, coalesce(x_max, x_cap))
         ELSE x_max END AS x_end
  FROM healing
), due AS (
  -- What is due if nothing is blocked: in the first step, and in the rest.
  SELECT *, taken * part_usd AS due_usd, taken * part_own_usd AS due_own_usd,
    repaid * debt_part_own_usd AS due_bought_usd,
    rest_taken * left_usd AS due_rest_usd, rest_taken * (c_own - taken * collateral_top_own_usd) AS due_rest_own_usd,
    rest_repaid * (d_own - repaid * debt_top_own_usd) AS due_rest_bought_usd,
    limit_usd IS NOT NULL AND (pair_blocked OR limit_usd = 0e0) AS replaced,
    limit_usd IS NOT NULL AND x_rest = 1e0 AS rest_replaced
  FROM ended
), allowed AS (
  -- Where the largest pair is blocked, something of all the others is taken in its place.
  SELECT *,
    CASE WHEN replaced THEN coalesce(allowed_usd * free_own_usd / nullif(free_usd, 0e0), 0e0) ELSE due_own_usd END
      AS allowed_own_usd,
    CASE WHEN replaced THEN coalesce(allowed_usd / (1e0 + collateral_top_bonus) * free_debt_own_usd
                                     / nullif(free_debt_usd, 0e0), 0e0)
         ELSE due_bought_usd END AS allowed_bought_usd,
    CASE WHEN rest_replaced THEN least(due_rest_usd, limit_usd - allowed_usd) ELSE due_rest_usd END AS allowed_rest_usd
  FROM (
    SELECT *, CASE WHEN limit_usd IS NULL THEN due_usd ELSE least(due_usd, limit_usd) END AS allowed_usd FROM due
  ) AS first_allowed
), allowed_rest AS (
  SELECT *,
    CASE WHEN rest_replaced
         THEN coalesce(allowed_rest_usd * (free_own_usd - allowed_own_usd) / nullif(free_usd - allowed_usd, 0e0), 0e0)
         ELSE due_rest_own_usd END AS allowed_rest_own_usd,
    CASE WHEN rest_replaced
         THEN coalesce(allowed_rest_usd * (free_debt_own_usd - allowed_bought_usd)
                       / nullif(free_debt_usd * (1e0 + collateral_top_bonus) - allowed_usd, 0e0), 0e0)
         ELSE due_rest_bought_usd END AS allowed_rest_bought_usd
  FROM allowed
), step AS (
  SELECT market, account, position, absorbs, kind AS direction, unit_usd, 'trigger' AS step, x_hit AS x,
         1 AS is_account, c0 + c1 * x_hit AS risk_usd, allowed_usd AS seize_usd, due_usd,
         allowed_own_usd AS own_usd, allowed_bought_usd AS bought_own_usd, heal0, heal1, heal_now
  FROM allowed_rest
  UNION ALL
  SELECT market, account, position, absorbs,
         CASE WHEN kind <> 'now' OR x_rest = 1e0 THEN kind WHEN x_rest < 1e0 THEN 'down' ELSE 'up' END,
         unit_usd, 'rest', x_rest, 0, 0e0, allowed_rest_usd, due_rest_usd, allowed_rest_own_usd, allowed_rest_bought_usd,
         0e0, 0e0, 0e0
  FROM allowed_rest WHERE x_rest IS NOT NULL
  UNION ALL
  SELECT market, account, position, absorbs, heal_direction, unit_usd, 'heal', x_heal, 0, 0e0, 0e0, 0e0, 0e0, 0e0,
         heal0 - heal_now, heal1, 0e0
  FROM ended WHERE kind = 'now' AND heals_on
  UNION ALL
  SELECT market, account, position, absorbs, heal_direction, unit_usd, 'heal-cap', x_end, 0, 0e0, 0e0, 0e0, 0e0, 0e0,
         heal1 * x_end, -heal1, 0e0
  FROM ended WHERE heals_on AND x_end > 0e0
)
SELECT market, account, position, absorbs, direction, step, x, x * spot.factor_price AS trigger_price,
       is_account, risk_usd, seize_usd, due_usd, own_usd / nullif(unit_usd, 0e0) AS units,
       bought_own_usd / nullif(unit_usd, 0e0) AS bought_units,
       heal0, heal1, heal_now, spot.factor_price, unit_usd
FROM step CROSS JOIN spot
WHERE direction = 'now' OR $p_direction IN (direction, 'both')
