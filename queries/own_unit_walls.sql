-- name: own_unit_walls
-- title: Collateral and debt without a price in USD that become liquidatable as a factor moves, in the unit of their market
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas)
-- needs: bins(p_range, p_step_abs, p_step_pct, p_direction), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves; MARKET: all volatile ones (1 = prices now)
-- param: p_direction TEXT = 'down'  down, up or both
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_range DOUBLE = 0.3  how far from the price now, as a share of it
-- param: p_step_abs DOUBLE = NULL  bin width in USD (or units of a ratio); bins are its multiples; unused where the factor has no price
-- param: p_step_pct DOUBLE = NULL  bin width as a share of the price now; neither: a round number near 1 %
-- param: p_betas TEXT = ''  for MARKET, betas of factors, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: market text market
-- column: unit text what the amounts are counted in: the market's base currency; of Morpho Blue the loan token of the positions
-- column: asset address address of the unit's token; null where only its name is known
-- column: direction text now, down, up, beyond down, beyond up (to 10 times the price now) or far up (above)
-- column: price_from price lower end of the bin, USD (for a ratio: units of its lower part); null beyond the last bin down, and without a price of the factor
-- column: price_to price upper end of the bin; null far up, and without a price of the factor
-- column: move_share share far end of the bin as a move of the factor from its price; null beyond the last bin
-- column: accounts count accounts whose trigger lies in the bin
-- column: collateral_at_risk amount all flagged collateral of these accounts at their trigger, in the unit
-- column: debt_at_risk amount all debt of these accounts at their trigger, in the unit
-- column: cum_accounts count accounts from the price to the far end of the bin
-- column: cum_collateral_at_risk amount collateral at risk from the price to the far end of the bin
-- column: cum_debt_at_risk amount debt at risk from the price to the far end of the bin
-- column: axis_market text market whose price the bins are of: this one, if it has a price of the factor; null where none has one
-- column: axis_price price price of the factor there, from which the bins are counted; null where no market has one
-- show: market unit direction price_from=from price_to=to move_share=move accounts collateral_at_risk=collateral
-- show: debt_at_risk=debt cum_collateral_at_risk=sum_collateral cum_debt_at_risk=sum_debt asset
-- note: collateral_at_risk, debt_at_risk: all collateral and debt of the accounts whose trigger lies in the bin, at their trigger; what liquidators may take of it is not computed
-- note: unit: amounts are whole units of it, of each market and unit apart; they are in no sum of USD
-- note: accounts: only those without a price in USD that have a trigger on the factor; the others are in walls, or have none
-- note: now: liquidatable at today's prices; what a move adds is in the rows of that move
-- note: axis_market, axis_price: market and price of the price axis; without a price of the factor bins are of x, its price over the price now
-- portable: yes
WITH reached AS (
  SELECT market, snapshot, account, position, direction AS kind, x, c0 + c1 * x AS collateral, d0 + d1 * x AS debt
  FROM triggers(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of)
  WHERE NOT in_usd AND (direction = 'now' OR (direction IN ('down', 'up') AND $p_direction IN (direction, 'both')))
), loan AS (
  -- Morpho Blue has no base currency (base_decimals 0): each position counts in raw units of its loan token, whose
  -- key is its address and the id of the position's market.
  SELECT l.snapshot, l.account, l.position, max(l.asset) AS asset
  FROM (SELECT DISTINCT snapshot FROM reached) AS h
  JOIN snapshots AS s ON s.snapshot = h.snapshot AND s.base_decimals = 0
  JOIN legs AS l ON l.snapshot = s.snapshot AND l.side = 'debt'
  GROUP BY l.snapshot, l.account, l.position
), counted AS (
  SELECT h.market, h.kind, h.x, h.collateral / power(10e0, coalesce(token.decimals, 0)) AS collateral,
         h.debt / power(10e0, coalesce(token.decimals, 0)) AS debt,
         CASE WHEN l.asset IS NULL THEN coalesce(base.symbol, s.quote)
              ELSE coalesce(token.symbol, split_part(l.asset, ':', 1)) END AS unit,
         CASE WHEN l.asset IS NOT NULL THEN split_part(l.asset, ':', 1)
              WHEN s.quote LIKE '0x%' THEN s.quote ELSE '' END AS asset
  FROM reached AS h
  JOIN snapshots AS s ON s.snapshot = h.snapshot
  LEFT JOIN loan AS l ON l.snapshot = h.snapshot AND l.account = h.account AND l.position = h.position
  LEFT JOIN reserves AS token ON token.snapshot = l.snapshot AND token.asset = l.asset
  LEFT JOIN reserves AS base ON base.snapshot = s.snapshot AND base.asset = s.quote
), axis AS (
  -- The bins of walls; without a price of the factor they are of x, which is 1 now.
  SELECT market, axis_market, axis_price, spot, pct,
    CASE WHEN axis_price IS NOT NULL AND $p_step_abs IS NOT NULL THEN $p_step_abs
         WHEN pct IS NOT NULL THEN spot * pct
         ELSE magnitude * CASE WHEN ratio < 1.5e0 THEN 1e0 WHEN ratio < 2.25e0 THEN 2e0
                               WHEN ratio < 3.5e0 THEN 2.5e0 WHEN ratio < 7.5e0 THEN 5e0
                               ELSE 10e0 END
    END AS step
  FROM (
    SELECT market, axis_market, axis_price, spot, magnitude, 0.01e0 * spot / magnitude AS ratio, $p_step_pct AS pct
    FROM (
      SELECT market, axis_market, axis_price, spot, power(10e0, floor(log10(0.01e0 * spot) + 1e-9)) AS magnitude
      FROM (
        SELECT market, CASE WHEN price > 0e0 THEN axis_market END AS axis_market,
               CASE WHEN price > 0e0 THEN price END AS axis_price, CASE WHEN price > 0e0 THEN price ELSE 1e0 END AS spot
        FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
        WHERE market <> 'all'
      ) AS own_price
    ) AS sized_price
  ) AS scaled_price
), placed AS (
  -- The number of a bin, counted from the price now; far beyond the last one it is limited, as the price
  -- at which a dust position triggers may not fit an integer.
  SELECT p.*,
    CASE WHEN p.kind = 'now' THEN 0 ELSE CAST(least(greatest(p.place_exact, 1e0), 1e6) AS INT) END
      AS place,
    p.kind = 'up' AND p.x > 10e0 AS is_far
  FROM (
    SELECT c.*,
      CASE WHEN c.kind = 'down' AND a.pct IS NULL
             THEN ceil(a.spot / a.step - 1e-9) - floor(c.x * a.spot / a.step + 1e-9)
           WHEN c.kind = 'down'
             THEN floor((a.spot - c.x * a.spot) / a.step - 1e-9) + 1e0
           WHEN a.pct IS NULL
             THEN ceil(c.x * a.spot / a.step - 1e-9) - floor(a.spot / a.step + 1e-9)
           ELSE ceil((c.x * a.spot - a.spot) / a.step - 1e-9) END AS place_exact
    FROM counted AS c JOIN axis AS a ON a.market = c.market
    WHERE a.step > 0e0
  ) AS p
), digit AS (
  SELECT * FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS d(n)
), edge AS (
  -- Bins 1 … in each direction, from the price now outwards; bin 0 is what is liquidatable already.
  SELECT a.market, w.kind, g.n AS place,
    CASE WHEN w.kind = 'now' THEN a.spot
         WHEN w.kind = 'down' AND a.pct IS NULL THEN greatest((ceil(a.spot / a.step - 1e-9) - g.n) * a.step, 0e0)
         WHEN w.kind = 'down' THEN greatest(a.spot - g.n * a.step, 0e0)
         WHEN a.pct IS NULL THEN (floor(a.spot / a.step + 1e-9) + g.n) * a.step
         ELSE a.spot + g.n * a.step END AS price_far,
    CASE WHEN w.kind = 'now' OR g.n = 1 THEN a.spot
         WHEN w.kind = 'down' AND a.pct IS NULL THEN (ceil(a.spot / a.step - 1e-9) - g.n + 1) * a.step
         WHEN w.kind = 'down' THEN a.spot - (g.n - 1) * a.step
         WHEN a.pct IS NULL THEN (floor(a.spot / a.step + 1e-9) + g.n - 1) * a.step
         ELSE a.spot + (g.n - 1) * a.step END AS price_near
  FROM (VALUES ('now'), ('down'), ('up')) AS w(kind)
  CROSS JOIN (SELECT a.n + 10 * b.n + 100 * c.n AS n
              FROM digit AS a CROSS JOIN digit AS b CROSS JOIN digit AS c) AS g
  CROSS JOIN axis AS a
  WHERE (w.kind = 'now' AND g.n = 0)
     OR (w.kind = 'down' AND g.n > 0 AND $p_direction IN ('down', 'both')
         AND CASE WHEN a.pct IS NULL THEN (ceil(a.spot / a.step - 1e-9) - g.n + 1) * a.step
                  ELSE a.spot - (g.n - 1) * a.step END > a.spot * (1e0 - $p_range) + 1e-9 * a.spot)
     OR (w.kind = 'up' AND g.n > 0 AND $p_direction IN ('up', 'both')
         AND CASE WHEN a.pct IS NULL THEN (floor(a.spot / a.step + 1e-9) + g.n - 1) * a.step
                  ELSE a.spot + (g.n - 1) * a.step END < a.spot * (1e0 + $p_range) - 1e-9 * a.spot)
), far AS (
  SELECT market, kind, max(place) AS place FROM edge GROUP BY market, kind
), folded AS (
  -- What lies beyond the last bin becomes one row and what lies far beyond another, so that nothing is dropped.
  SELECT p.market, p.unit, p.asset, p.kind,
         CASE WHEN p.place <= coalesce(f.place, 0) THEN p.place
              ELSE coalesce(f.place, 0) + CASE WHEN p.is_far THEN 2 ELSE 1 END END AS place,
         count(*) AS accounts, sum(p.collateral) AS collateral, sum(p.debt) AS debt
  FROM placed AS p LEFT JOIN far AS f ON f.market = p.market AND f.kind = p.kind
  GROUP BY 1, 2, 3, 4, 5
), groups AS (
  SELECT DISTINCT market, unit, asset FROM folded
), bin AS (
  SELECT market, kind, place, 'bin' AS part, price_near, price_far FROM edge
  UNION ALL
  SELECT f.market, f.kind, f.place + 1, 'beyond', e.price_far, NULL
  FROM far AS f
  JOIN edge AS e ON e.market = f.market AND e.kind = f.kind AND e.place = f.place
  WHERE f.kind <> 'now'
  UNION ALL
  SELECT DISTINCT f.market, f.kind, f.place + 2, 'far', greatest(e.price_far, 10e0 * a.spot), NULL
  FROM far AS f
  JOIN edge AS e ON e.market = f.market AND e.kind = f.kind AND e.place = f.place
  JOIN folded AS b ON b.market = f.market AND b.kind = f.kind AND b.place = f.place + 2
  JOIN axis AS a ON a.market = f.market
), filled AS (
  SELECT b.market, g.unit, g.asset, b.kind, b.place, b.part, b.price_near, b.price_far,
         coalesce(f.accounts, 0) AS accounts, coalesce(f.collateral, 0e0) AS collateral, coalesce(f.debt, 0e0) AS debt
  FROM bin AS b
  JOIN groups AS g ON g.market = b.market
  LEFT JOIN folded AS f
    ON f.market = g.market AND f.unit = g.unit AND f.asset = g.asset AND f.kind = b.kind AND f.place = b.place
)
SELECT f.market, f.unit, nullif(f.asset, '') AS asset,
       CASE f.part WHEN 'bin' THEN f.kind ELSE f.part || ' ' || f.kind END AS direction,
       CASE WHEN a.axis_price IS NULL THEN NULL WHEN f.kind = 'up' THEN f.price_near ELSE f.price_far END AS price_from,
       CASE WHEN a.axis_price IS NULL THEN NULL WHEN f.kind <> 'up' THEN f.price_near
            WHEN f.part = 'beyond' THEN greatest(f.price_near, 10e0 * a.spot) ELSE f.price_far END AS price_to,
       f.price_far / a.spot - 1e0 AS move_share,
       CAST(f.accounts AS BIGINT) AS accounts,
       CASE WHEN f.part <> 'far' THEN f.collateral END AS collateral_at_risk,
       CASE WHEN f.part <> 'far' THEN f.debt END AS debt_at_risk,
       CAST(sum(f.accounts) OVER by_place AS BIGINT) AS cum_accounts,
       CASE WHEN f.part <> 'far' THEN sum(f.collateral) OVER by_place END AS cum_collateral_at_risk,
       CASE WHEN f.part <> 'far' THEN sum(f.debt) OVER by_place END AS cum_debt_at_risk,
       a.axis_market, a.axis_price
FROM filled AS f JOIN axis AS a ON a.market = f.market
WINDOW by_place AS (PARTITION BY f.market, f.unit, f.asset, f.kind ORDER BY f.place
                    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
ORDER BY f.market, f.unit, f.asset, CASE f.kind WHEN 'now' THEN 0 WHEN 'down' THEN 1 ELSE 2 END, f.place
