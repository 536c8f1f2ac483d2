-- name: triggers
-- title: Trigger of each account as one factor moves (x = price / price now)
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves, or MARKET
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: market text market
-- columns of: legs account position
-- column: factor text factor as the market names it, or MARKET; null where the market has none
-- column: direction text now, down, up, never, flat, outside or n/a
-- column: x multiple trigger price over the price now; null without a trigger
-- column: trigger_price price the factor's value at which the account becomes liquidatable; null without a trigger
-- column: trigger_price_late price market price that the trigger may lag to: trigger_price less (or more) the deviation of its feed; null where that is not stated, and without a trigger
-- column: tolerance fraction relative uncertainty of x from the contract's integer rounding; null but for down and up
-- column: recovers_at multiple price over the price now at which an account that is liquidatable now is not any more; null for others, and where no price makes it so
-- column: hf hf collateral times thresholds over debt, at the oracle's prices; null without debt or a price
-- column: collateral_usd usd collateral now; null without a price
-- column: debt_usd usd debt now; null without a price
-- column: collateral_moving_usd usd part of the collateral that moves with the factor: its slope in x
-- column: debt_moving_usd usd part of the debt that moves with the factor: its slope in x
-- column: in_usd flag the account's balances have a value in USD; else a0 to debt_top_own_usd are in units of its market, and no sum counts them
-- column: a0 usd collateral times thresholds is a0 + a1 · x
-- column: a1 usd slope of collateral times thresholds in x
-- column: d0 usd debt is d0 + d1 · x
-- column: d1 usd slope of the debt in x
-- column: c0 usd collateral is c0 + c1 · x
-- column: c1 usd slope of the collateral in x
-- column: c_own usd part of the collateral now that is in the factor's own assets
-- column: d_own usd part of the debt now that is in the factor's own assets
-- column: x_full multiple x from which on all of a debt may be repaid, 1 if reached already; null where it is not reached
-- column: full_outside flag x_full is reached only where prices are not linear
-- column: cover0 usd debt that the collateral pays for with its bonus is cover0 + cover1 · x
-- column: cover1 usd slope of that debt in x
-- column: x_min multiple lower end of the range in which prices are linear
-- column: x_max multiple upper end of that range; null: none
-- column: collateral_top_usd usd largest collateral, 0 without any
-- column: collateral_top_moving_usd usd part of the largest collateral that moves with the factor
-- column: collateral_top_own_usd usd part of the largest collateral that is in the factor's own assets
-- column: collateral_top_lt fraction the largest collateral's liquidation threshold
-- column: collateral_top_bonus fraction the largest collateral's liquidation bonus
-- column: debt_top_usd usd largest debt; null without any
-- column: debt_top_moving_usd usd part of the largest debt that moves with the factor
-- column: debt_top_own_usd usd part of the largest debt that is in the factor's own assets
-- column: factor_price price the factor's value now: USD, or of a ratio; 1 for MARKET; null where the market has none
-- column: unit_usd usd USD per unit of the factor; null for MARKET
-- columns of: snapshots close_factor close_basis full_close_below_hf full_close_below_usd min_leftover_usd target_hf absorbs
-- column: blocked_reason text of an account that is liquidatable now: why the contracts let nobody liquidate it, see account_health; else empty
-- column: pair_blocked flag the contracts let nobody take the largest collateral, or repay the largest debt
-- column: collateral_blocked_usd usd part of the collateral now that no liquidation may take
-- column: collateral_blocked_own_usd usd part of that in the factor's own assets
-- column: debt_blocked_usd usd part of the debt now that no liquidation may repay
-- column: debt_blocked_own_usd usd part of that in the factor's own assets
-- column: block_number block block of the snapshot
-- column: block_time time time stamp of that block
-- column: snapshot id snapshot
-- note: direction: now = liquidatable already, by the contract's verdict if there is one, with the interest that a liquidation accrues first; down, up = at x; never = not by this factor; flat = no exposure; outside = only where prices are not linear (negative, above a cap or below a floor); n/a = no price, or a price divided by the factor or not linear in it
-- note: x_full: x at the health factor from which down all of a debt may be repaid, full_close_below_hf of the snapshot (0.95 where that is null; 1 if reached already), without earlier liquidations; full_outside: reached only where prices are not linear
-- note: cover0 + cover1 · x: debt that the collateral pays for with its bonus; x_min, x_max: range in which prices are linear
-- note: blocked_reason: an account stays liquidatable (now) while its liquidation is refused; of accounts with another direction nothing is said, as what is blocked now need not be so then
-- note: tolerance: relative uncertainty of x from the contract's integer rounding (matters for dust)
-- portable: yes
-- show: market account position factor direction x trigger_price recovers_at hf collateral_usd debt_usd tolerance
-- show: blocked_reason=blocked
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
), term AS (
  -- What the terms of a slot's balance make of its worth; 0 is an empty slot. Where the price is not linear in the
  -- factor, the worth now is all that is known.
  SELECT snapshot, term_id, CASE WHEN beta IS NULL THEN 1 ELSE 0 END AS unpriced, beta, coalesce(beta, 0e0) AS moving,
         own_beta, lt, bonus, 1e0 / (1e0 + bonus) AS cover, cap_x, floor_x, step,
         CASE WHEN beta = 0e0 THEN step ELSE 0e0 END AS still_step, blocked,
         CASE WHEN blocked THEN 1e0 ELSE 0e0 END AS blocked_part,
         -- Of balances worth the same, the one with the higher threshold counts as the largest.
         1e0 + 1e-12 * lt + tie AS rank1, 1e-12 * lt AS rank0
  FROM (
    SELECT t.snapshot, t.term_id, t.lt_bps / 10000e0 AS lt, t.bonus_bps / 10000e0 AS bonus,
           CASE WHEN t.side = 'debt' THEN r.blocked_debt ELSE r.blocked_collateral END IS NOT NULL AS blocked,
           CASE WHEN t.category_priced OR m.asset IS NULL THEN 0e0 ELSE m.beta END AS beta,
           CASE WHEN t.category_priced THEN 0e0 ELSE greatest(coalesce(m.own_beta, 0e0), 0e0) END AS own_beta,
           1e-13 * coalesce(m.beta, 0e0) + 1e-14 * coalesce(m.own_beta, 0e0) AS tie,
           CASE WHEN NOT t.category_priced THEN m.cap_x END AS cap_x,
           CASE WHEN NOT t.category_priced THEN m.floor_x END AS floor_x,
           coalesce(m.step, 0e0) AS step
    FROM newest AS c
    JOIN slot_terms AS t ON t.snapshot = c.snapshot
    LEFT JOIN asset_move AS m ON m.snapshot = t.snapshot AND m.asset = t.asset
    LEFT JOIN reserves AS r ON r.snapshot = t.snapshot AND r.asset = t.asset
  ) AS of_asset
  UNION ALL
  SELECT snapshot, 0, 0, NULL, 0e0, 0e0, 0e0, 0e0, 0e0, NULL, NULL, 0e0, 0e0, false, 0e0, 1e0, -1e0
  FROM newest
), slot AS (
  -- Held h1 to h4, owed o1 and o2. Outer joins keep their order: an engine might multiply the terms first.
  SELECT s.snapshot, s.account, s.position, s.in_usd, s.has_several_lts, s.liquidatable, s.is_below_one, s.blocked_reason,
         s.collateral1_worth AS h1, s.collateral1_term_id AS h1_term, s.collateral1_amount AS h1_amount,
         s.collateral1_worth * h1.moving AS h1_moving, s.collateral1_worth * h1.own_beta AS h1_own,
         h1.beta AS h1_beta, h1.cap_x AS h1_cap_x, h1.floor_x AS h1_floor_x, h1.step AS h1_step,
         h1.still_step AS h1_still_step, h1.blocked_part AS h1_blocked_part, h1.rank1 AS h1_rank1,
         h1.rank0 AS h1_rank0, h1.unpriced AS h1_unpriced, h1.lt AS h1_lt, h1.cover AS h1_cover,
         s.collateral2_worth AS h2, s.collateral2_term_id AS h2_term, s.collateral2_amount AS h2_amount,
         s.collateral2_worth * h2.moving AS h2_moving, s.collateral2_worth * h2.own_beta AS h2_own,
         h2.beta AS h2_beta, h2.cap_x AS h2_cap_x, h2.floor_x AS h2_floor_x, h2.step AS h2_step,
         h2.still_step AS h2_still_step, h2.blocked_part AS h2_blocked_part, h2.rank1 AS h2_rank1,
         h2.rank0 AS h2_rank0, h2.unpriced AS h2_unpriced, h2.lt AS h2_lt, h2.cover AS h2_cover,
         s.collateral3_worth AS h3, s.collateral3_term_id AS h3_term, s.collateral3_amount AS h3_amount,
         s.collateral3_worth * h3.moving AS h3_moving, s.collateral3_worth * h3.own_beta AS h3_own,
         h3.beta AS h3_beta, h3.cap_x AS h3_cap_x, h3.floor_x AS h3_floor_x, h3.step AS h3_step,
         h3.still_step AS h3_still_step, h3.blocked_part AS h3_blocked_part, h3.rank1 AS h3_rank1,
         h3.rank0 AS h3_rank0, h3.unpriced AS h3_unpriced, h3.lt AS h3_lt, h3.cover AS h3_cover,
         s.collateral4_worth AS h4, s.collateral4_term_id AS h4_term, s.collateral4_amount AS h4_amount,
         s.collateral4_worth * h4.moving AS h4_moving, s.collateral4_worth * h4.own_beta AS h4_own,
         h4.beta AS h4_beta, h4.cap_x AS h4_cap_x, h4.floor_x AS h4_floor_x, h4.step AS h4_step,
         h4.still_step AS h4_still_step, h4.blocked_part AS h4_blocked_part, h4.rank1 AS h4_rank1,
         h4.rank0 AS h4_rank0, h4.unpriced AS h4_unpriced, h4.lt AS h4_lt, h4.cover AS h4_cover,
         s.debt1_worth AS o1, s.debt1_term_id AS o1_term, s.debt1_amount AS o1_amount,
         s.debt1_worth * o1.moving AS o1_moving, s.debt1_worth * o1.own_beta AS o1_own, o1.beta AS o1_beta,
         o1.cap_x AS o1_cap_x, o1.floor_x AS o1_floor_x, o1.step AS o1_step, o1.still_step AS o1_still_step,
         o1.blocked_part AS o1_blocked_part, o1.rank1 AS o1_rank1, o1.rank0 AS o1_rank0, o1.unpriced AS o1_unpriced,
         s.debt2_worth AS o2, s.debt2_term_id AS o2_term, s.debt2_amount AS o2_amount,
         s.debt2_worth * o2.moving AS o2_moving, s.debt2_worth * o2.own_beta AS o2_own, o2.beta AS o2_beta,
         o2.cap_x AS o2_cap_x, o2.floor_x AS o2_floor_x, o2.step AS o2_step, o2.still_step AS o2_still_step,
         o2.blocked_part AS o2_blocked_part, o2.rank1 AS o2_rank1, o2.rank0 AS o2_rank0, o2.unpriced AS o2_unpriced
  FROM newest AS n
  JOIN account_slots AS s ON s.snapshot = n.snapshot
  LEFT JOIN term AS h1 ON h1.snapshot = s.snapshot AND h1.term_id = s.collateral1_term_id
  LEFT JOIN term AS h2 ON h2.snapshot = s.snapshot AND h2.term_id = s.collateral2_term_id
  LEFT JOIN term AS h3 ON h3.snapshot = s.snapshot AND h3.term_id = s.collateral3_term_id
  LEFT JOIN term AS h4 ON h4.snapshot = s.snapshot AND h4.term_id = s.collateral4_term_id
  LEFT JOIN term AS o1 ON o1.snapshot = s.snapshot AND o1.term_id = s.debt1_term_id
  LEFT JOIN term AS o2 ON o2.snapshot = s.snapshot AND o2.term_id = s.debt2_term_id
), slotted AS (
  SELECT snapshot, account, position, in_usd, has_several_lts, liquidatable, is_below_one, blocked_reason,
    least(h1_term, 1) + least(h2_term, 1) + least(h3_term, 1) + least(h4_term, 1) + least(o1_term, 1) +
      least(o2_term, 1) AS legs,
    (h1 - h1_moving) + (h2 - h2_moving) + (h3 - h3_moving) + (h4 - h4_moving) AS c0,
    h1_moving + h2_moving + h3_moving + h4_moving AS c1,
    h1_own + h2_own + h3_own + h4_own AS c_own,
    (h1 - h1_moving) * h1_lt + (h2 - h2_moving) * h2_lt + (h3 - h3_moving) * h3_lt + (h4 - h4_moving) * h4_lt AS a0,
    h1_moving * h1_lt + h2_moving * h2_lt + h3_moving * h3_lt + h4_moving * h4_lt AS a1,
    (o1 - o1_moving) + (o2 - o2_moving) AS d0,
    o1_moving + o2_moving AS d1,
    o1_own + o2_own AS d_own,
    (h1 - h1_moving) * h1_cover + (h2 - h2_moving) * h2_cover + (h3 - h3_moving) * h3_cover +
      (h4 - h4_moving) * h4_cover AS cover0,
    h1_moving * h1_cover + h2_moving * h2_cover + h3_moving * h3_cover + h4_moving * h4_cover AS cover1,
    greatest(h1_beta, h2_beta, h3_beta, h4_beta, o1_beta, o2_beta) AS beta_max,
    least(h1_beta, h2_beta, h3_beta, h4_beta, o1_beta, o2_beta) AS beta_min,
    least(h1_cap_x, h2_cap_x, h3_cap_x, h4_cap_x, o1_cap_x, o2_cap_x) AS cap_x,
    greatest(h1_floor_x, h2_floor_x, h3_floor_x, h4_floor_x, o1_floor_x, o2_floor_x) AS floor_x,
    -- Prices have 8 decimals or more; what they are made of may have rounded more coarsely.
    greatest(CASE WHEN h1_beta <> 0e0 AND h1 > 0e0
                  THEN greatest(CASE WHEN in_usd THEN 1e-8 * h1_amount / nullif(h1, 0e0) ELSE 0e0 END, h1_step)
                  ELSE 0e0 END,
             CASE WHEN h2_beta <> 0e0 AND h2 > 0e0
                  THEN greatest(CASE WHEN in_usd THEN 1e-8 * h2_amount / nullif(h2, 0e0) ELSE 0e0 END, h2_step)
                  ELSE 0e0 END,
             CASE WHEN h3_beta <> 0e0 AND h3 > 0e0
                  THEN greatest(CASE WHEN in_usd THEN 1e-8 * h3_amount / nullif(h3, 0e0) ELSE 0e0 END, h3_step)
                  ELSE 0e0 END,
             CASE WHEN h4_beta <> 0e0 AND h4 > 0e0
                  THEN greatest(CASE WHEN in_usd THEN 1e-8 * h4_amount / nullif(h4, 0e0) ELSE 0e0 END, h4_step)
                  ELSE 0e0 END,
             CASE WHEN o1_beta <> 0e0 AND o1 > 0e0
                  THEN greatest(CASE WHEN in_usd THEN 1e-8 * o1_amount / nullif(o1, 0e0) ELSE 0e0 END, o1_step)
                  ELSE 0e0 END,
             CASE WHEN o2_beta <> 0e0 AND o2 > 0e0
                  THEN greatest(CASE WHEN in_usd THEN 1e-8 * o2_amount / nullif(o2, 0e0) ELSE 0e0 END, o2_step)
                  ELSE 0e0 END) AS tick,
    -- What does not move in USD may be counted in another unit, in few units of it.
    h1 * h1_still_step + h2 * h2_still_step + h3 * h3_still_step + h4 * h4_still_step + o1 * o1_still_step +
      o2 * o2_still_step AS step_usd,
    h1 AS collateral_top_usd, CASE WHEN o1_term > 0 THEN o1 END AS debt_top_usd,
    CASE greatest(h1 * h1_rank1 + h1_rank0, h2 * h2_rank1 + h2_rank0, h3 * h3_rank1 + h3_rank0,
                  h4 * h4_rank1 + h4_rank0)
         WHEN h1 * h1_rank1 + h1_rank0 THEN h1_term
         WHEN h2 * h2_rank1 + h2_rank0 THEN h2_term
         WHEN h3 * h3_rank1 + h3_rank0 THEN h3_term
         ELSE h4_term END AS c_top,
    CASE greatest(o1 * o1_rank1 + o1_rank0, o2 * o2_rank1 + o2_rank0)
         WHEN o1 * o1_rank1 + o1_rank0 THEN o1_term
         ELSE o2_term END AS d_top,
    o1 * o1_blocked_part + o2 * o2_blocked_part AS debt_blocked_usd,
    o1_own * o1_blocked_part + o2_own * o2_blocked_part AS debt_blocked_own_usd,
    h1 * h1_blocked_part + h2 * h2_blocked_part + h3 * h3_blocked_part + h4 * h4_blocked_part AS collateral_blocked_usd,
    h1_own * h1_blocked_part + h2_own * h2_blocked_part + h3_own * h3_blocked_part + h4_own * h4_blocked_part AS collateral_blocked_own_usd,
    h1_unpriced + h2_unpriced + h3_unpriced + h4_unpriced + o1_unpriced + o2_unpriced AS unpriced
  FROM slot
), leg AS (
  -- Accounts that do not fit into slots.
  -- What has no value in USD counts in units of its market: a trigger is the same in any currency.
  SELECT l.snapshot, l.account, l.position, l.side, l.worth AS usd, l.in_usd, l.amount,
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
           l.usd IS NOT NULL AS in_usd,
           coalesce(l.usd, CAST(l.value AS DOUBLE) / power(10e0, c.base_decimals)) AS worth
    FROM newest AS c JOIN legs AS l ON l.snapshot = c.snapshot
    WHERE l.side <> 'idle' AND l.in_slots IS NULL
  ) AS l
  LEFT JOIN asset_move AS m ON m.snapshot = l.snapshot AND m.asset = l.asset
  LEFT JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
), summed AS (
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
    coalesce(min(CASE WHEN side <> 'debt' THEN lt END) < max(CASE WHEN side <> 'debt' THEN lt END), false) AS has_several_lts,
    max(beta) AS beta_max, min(beta) AS beta_min, min(cap_x) AS cap_x, max(floor_x) AS floor_x,
    -- Prices have 8 decimals or more; what they are made of may have rounded more coarsely.
    max(CASE WHEN beta <> 0e0 AND usd > 0e0 THEN greatest(CASE WHEN in_usd THEN 1e-8 * amount / usd ELSE 0e0 END, step) ELSE 0e0 END) AS tick,
    min(CASE WHEN in_usd THEN 1 ELSE 0 END) = 1 AS in_usd,
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
), pos AS (
  -- Collateral c, threshold-weighted collateral a, debt d: each as constant + slope · x.
  SELECT p.snapshot, p.account, p.position, p.legs, p.c0, p.c1, p.c_own, p.a0, p.a1, p.d0, p.d1, p.d_own, p.cover0, p.cover1,
    p.has_several_lts, p.beta_max, p.beta_min, p.cap_x, p.floor_x, p.tick, p.in_usd, p.step_usd,
    p.debt_top_usd, p.debt_top_usd * d.moving AS debt_top_moving_usd, p.debt_top_usd * d.own_beta AS debt_top_own_usd,
    p.collateral_top_usd, p.collateral_top_usd * c.moving AS collateral_top_moving_usd,
    p.collateral_top_usd * c.own_beta AS collateral_top_own_usd, c.lt AS collateral_top_lt, c.bonus AS collateral_top_bonus,
    d.blocked AS debt_top_blocked, c.blocked AS collateral_top_blocked,
    p.debt_blocked_usd, p.debt_blocked_own_usd, p.collateral_blocked_usd, p.collateral_blocked_own_usd,
    CASE WHEN p.unpriced > 0 THEN 1 ELSE 0 END AS unpriced,
    true AS has_row, p.liquidatable, p.is_below_one, p.blocked_reason
  FROM slotted AS p
  LEFT JOIN term AS c ON c.snapshot = p.snapshot AND c.term_id = p.c_top
  LEFT JOIN term AS d ON d.snapshot = p.snapshot AND d.term_id = p.d_top
  UNION ALL
  SELECT p.snapshot, p.account, p.position, p.legs, p.c0, p.c1, p.c_own, p.a0, p.a1, p.d0, p.d1, p.d_own, p.cover0, p.cover1,
    p.has_several_lts, p.beta_max, p.beta_min, p.cap_x, p.floor_x, p.tick, p.in_usd, p.step_usd,
    p.debt_top_usd, p.debt_top_moving_usd, p.debt_top_own_usd,
    p.collateral_top_usd, p.collateral_top_moving_usd, p.collateral_top_own_usd, p.collateral_top_lt, p.collateral_top_bonus,
    p.debt_top_blocked, p.collateral_top_blocked,
    p.debt_blocked_usd, p.debt_blocked_own_usd, p.collateral_blocked_usd, p.collateral_blocked_own_usd, p.unpriced,
    e.account IS NOT NULL, coalesce(e.liquidatable_accrued, e.liquidatable), e.hf_wad < 1000000000000000000, e.blocked_reason
  FROM summed AS p
  LEFT JOIN account_health AS e
    ON e.snapshot = p.snapshot AND e.account = p.account AND e.position = p.position AND e.in_slots IS NULL
), ruled AS (
  -- Truncating the average threshold to 1 bp matters only where thresholds differ.
  SELECT p.*, c.market, c.base_decimals, c.block_number, c.block_time, c.full_close_hf, c.close_factor, c.close_basis,
    c.full_close_below_hf, c.full_close_below_usd, c.min_leftover_usd, c.target_hf, c.absorbs,
    c.market_refusal, c.market_refuses_above_hf,
    s.factor, s.price AS factor_price, s.unit_usd, s.deviation,
    -- In a market that counts in another currency a price may move that does not in USD.
    CASE WHEN c.quote <> 'USD' THEN p.step_usd ELSE 0e0 END AS quoted_step_usd,
    CASE WHEN c.truncates_lt AND p.has_several_lts
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
    CASE WHEN s.has_row THEN s.blocked_reason
         WHEN s.market_refuses_above_hf IS NULL OR s.m1 >= (s.market_refuses_above_hf - 1e0) * (s.d0 + s.d1)
           THEN s.market_refusal END AS refusal,
    CASE WHEN s.unpriced = 1 THEN 'n/a'
         WHEN s.d0 + s.d1 <= 0e0 THEN 'never'
         -- The contract's verdict decides, with the interest that a liquidation accrues first, and
         -- within 1e-9 of the threshold its own integer.
         WHEN coalesce(s.liquidatable, CASE WHEN abs(s.m1) <= 1e-9 * (s.d0 + s.d1) THEN s.is_below_one END,
                       s.m1 < 0e0) THEN 'now'
         WHEN s.beta_max = 0e0 AND s.beta_min = 0e0 THEN 'flat'
         WHEN s.slope > 0e0 AND s.x_raw > 0e0
           THEN CASE WHEN s.x_raw <= greatest(s.x_min, 1e-9) THEN 'outside' ELSE 'down' END
         WHEN s.slope < 0e0 AND s.x_raw > 0e0
           THEN CASE WHEN s.x_raw >= s.x_max THEN 'outside' ELSE 'up' END
         ELSE 'never' END AS direction
  FROM solved AS s
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
