-- name: path_legs
-- title: Balances in USD of accounts with debt or collateral that counts, and how one factor moves each
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas)
-- param: p_factor TEXT = 'BTC'  which factor moves
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.2'
-- column: snapshot id snapshot
-- columns of: legs account position
-- column: asset address address of the token
-- column: is_debt flag debt; else collateral
-- column: usd usd value now; above 0
-- column: beta multiple move of its price per move of the factor; null where that is not linear
-- column: own_beta multiple the same without what other factors add
-- column: lt fraction liquidation threshold; 0 for debt
-- column: bonus fraction liquidation bonus; 0 for debt
-- column: is_blocked flag the contracts let nobody take or repay it at the block
-- note: accounts of which the balances have no value in USD are left out
-- portable: yes
WITH asset_move AS (
  SELECT snapshot, asset, beta, own_beta
  FROM moves(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of)
), chosen AS (
  SELECT DISTINCT snapshot FROM asset_move
), slotted AS (
  SELECT s.snapshot, s.account, s.position,
         CASE n.slot WHEN 1 THEN s.collateral1_term_id WHEN 2 THEN s.collateral2_term_id WHEN 3 THEN s.collateral3_term_id
              WHEN 4 THEN s.collateral4_term_id WHEN 5 THEN s.debt1_term_id ELSE s.debt2_term_id END AS term_id,
         CASE n.slot WHEN 1 THEN s.collateral1_worth WHEN 2 THEN s.collateral2_worth WHEN 3 THEN s.collateral3_worth
              WHEN 4 THEN s.collateral4_worth WHEN 5 THEN s.debt1_worth ELSE s.debt2_worth END AS usd
  FROM chosen AS c
  JOIN account_slots AS s ON s.snapshot = c.snapshot AND s.in_usd
  CROSS JOIN (VALUES (1), (2), (3), (4), (5), (6)) AS n(slot)
), leg AS (
  SELECT s.snapshot, s.account, s.position, t.asset, t.side, s.usd, t.lt_bps, t.bonus_bps, t.category_priced
  FROM slotted AS s
  JOIN slot_terms AS t ON t.snapshot = s.snapshot AND t.term_id = s.term_id
  WHERE s.usd > 0e0
  UNION ALL
  SELECT l.snapshot, l.account, l.position, l.asset, l.side, l.usd, l.lt_bps, l.bonus_bps, l.category_priced
  FROM chosen AS c
  JOIN legs AS l ON l.snapshot = c.snapshot
  WHERE l.in_slots IS NULL AND l.side <> 'idle' AND l.usd > 0e0
)
SELECT l.snapshot, l.account, l.position, l.asset, l.side = 'debt' AS is_debt, l.usd,
       CASE WHEN l.category_priced OR m.asset IS NULL THEN 0e0 ELSE m.beta END AS beta,
       CASE WHEN l.category_priced THEN 0e0 ELSE greatest(coalesce(m.own_beta, 0e0), 0e0) END AS own_beta,
       l.lt_bps / 10000e0 AS lt, l.bonus_bps / 10000e0 AS bonus,
       CASE WHEN l.side = 'debt' THEN r.blocked_debt ELSE r.blocked_collateral END IS NOT NULL AS is_blocked
FROM leg AS l
LEFT JOIN asset_move AS m ON m.snapshot = l.snapshot AND m.asset = l.asset
LEFT JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
