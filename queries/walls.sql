-- name: walls
-- title: Collateral that becomes liquidatable as a factor moves, per price bin
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas)
-- needs: bins(p_range, p_step_abs, p_step_pct, p_direction, p_split), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves; MARKET: all volatile ones (1 = prices now)
-- param: p_direction TEXT = 'down'  down, up or both
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_split BOOLEAN = false  true: one set of rows per market
-- param: p_range DOUBLE = 0.3  how far from the price now, as a share of it
-- param: p_step_abs DOUBLE = NULL  bin width in USD (or units of a ratio); bins are its multiples
-- param: p_step_pct DOUBLE = NULL  bin width as a share of the price now; neither: a round number near 1 %
-- param: p_betas TEXT = ''  for MARKET, betas of factors, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: market text market, or all for the sum of all
-- column: direction text now, down, up, beyond down, beyond up (to 10 times the price now) or far up (above)
-- column: price_from price lower end of the bin, USD (for a ratio: units of its lower part); null beyond the last bin down
-- column: price_to price upper end of the bin; null far up
-- column: move_share share far end of the bin as a move of the factor from its price; null beyond the last bin
-- column: accounts count accounts whose trigger lies in the bin
-- column: collateral_at_risk_usd usd all flagged collateral of these accounts at their trigger; null far up, as are all other figures
-- column: round_seizable_usd usd collateral that the close-factor rules let liquidators take, of no asset more than is held; now: without what is blocked
-- column: due_usd usd of the row now: round_seizable if the contracts blocked nothing; null in others
-- column: liquidatable_now_usd usd of the row now: round_seizable, what the contracts let liquidators take at the block; null in others
-- column: seize_to_heal_usd usd collateral for the smallest repayments that bring health factors to 1; null beyond the last bin
-- column: units amount round_seizable that moves with the factor, in units of the factor; null for MARKET
-- column: top1_share share part of the largest account in collateral_at_risk_usd; null in an empty bin
-- column: cum_accounts count accounts from the price to the far end of the bin
-- column: cum_collateral_at_risk_usd usd collateral at risk from the price to the far end of the bin
-- column: cum_round_seizable_usd usd round_seizable from the price to the far end of the bin
-- column: cum_seize_to_heal_usd usd seize_to_heal from the price to the far end of the bin; null beyond the last bin
-- column: cum_units amount units from the price to the far end of the bin; null for MARKET
-- column: axis_market text market whose price the bins are of: this one, if it has a price of the factor
-- column: axis_price price price of the factor there, from which the bins are counted
-- show: market direction price_from=from price_to=to move_share=move accounts collateral_at_risk_usd=at_risk_USD
-- show: round_seizable_usd=seizable_USD due_usd<>liquidatable_now_usd=due_USD liquidatable_now_usd<>due_usd=now_USD seize_to_heal_usd=to_heal_USD units
-- show: top1_share cum_round_seizable_usd=sum_seizable
-- bar: round_seizable_usd over price_from
-- note: collateral_at_risk: all collateral of the accounts whose trigger lies in the bin, valued at their trigger
-- note: round_seizable: collateral that the market's close rule allows (close_factor to absorbs in snapshots): for its share of a debt at health factor 1 and the rest at full_close_below_hf, or up to target_hf, or all at once where it is absorbed
-- note: round_seizable: never more of an asset than the account holds; liquidations where prices are not linear are left out
-- note: seize_to_heal: collateral for the smallest repayments that bring health factors back to 1; all of it where accounts are absorbed
-- note: now: liquidatable at today's prices; what a move adds is in the rows of that move
-- note: units: part of round_seizable in the factor's own assets, in units of the factor at the trigger (for a ratio: of the token)
-- note: down: accounts whose collateral moves with the factor; up: accounts whose debt does
-- note: far up: accounts that trigger above 10 times the price now, in no other figure: at such prices USD of debt and collateral say nothing
-- note: axis_market, axis_price: market and price of the price axis; rows of one market use its own price, sums the highest; triggers keep their distance in per cent
-- note: due, liquidatable_now: of what is due now, the contracts let liquidators take liquidatable_now; the rest is blocked: paused, not active, in a grace period, refused by a sequencer sentinel; accounts says why
-- note: assumed: the largest collateral pays the largest debt first, then the same share of the rest; liquidators may choose otherwise, and call again as the price moves on: see path
-- portable: yes
WITH step AS (
  SELECT direction AS kind, * FROM forced_sales(p_factor := $p_factor, p_betas := $p_betas, p_direction := $p_direction,
                                          p_market := $p_market, p_as_of := $p_as_of)
), axis AS (
  SELECT market, axis_market, spot, step, pct FROM (
    SELECT market, axis_market, spot, $p_step_pct AS pct,
      CASE WHEN $p_step_abs IS NOT NULL THEN $p_step_abs
           WHEN $p_step_pct IS NOT NULL THEN spot * $p_step_pct
           ELSE magnitude * CASE WHEN ratio < 1.5e0 THEN 1e0 WHEN ratio < 2.25e0 THEN 2e0
                                 WHEN ratio < 3.5e0 THEN 2.5e0 WHEN ratio < 7.5e0 THEN 5e0
                                 ELSE 10e0 END
      END AS step
    FROM (
      SELECT market, axis_market, spot, magnitude, 0.01e0 * spot / magnitude AS ratio
      FROM (
        SELECT market, axis_market, price AS spot,
               power(10e0, floor(log10(0.01e0 * price) + 1e-9)) AS magnitude
        FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
        WHERE price > 0e0 AND $p_split = (market <> 'all')
      ) AS sized_price
    ) AS scaled_price
  ) AS stepped WHERE step > 0e0
), placed AS (
  -- The number of a bin, counted from the price now; far beyond the last one it is limited, as the price
  -- at which a dust position triggers may not fit an integer.
  SELECT p.*,
    CASE WHEN p.kind = 'now' THEN 0 ELSE CAST(least(greatest(p.place_exact, 1e0), 1e6) AS INT) END
      AS place,
    p.kind = 'up' AND p.x > 10e0 AS is_far
  FROM (
    SELECT s.*, a.market AS group_name, a.spot,
      CASE WHEN s.kind = 'down' AND a.pct IS NULL
             THEN ceil(a.spot / a.step - 1e-9) - floor(s.x * a.spot / a.step + 1e-9)
           WHEN s.kind = 'down'
             THEN floor((a.spot - s.x * a.spot) / a.step - 1e-9) + 1e0
           WHEN a.pct IS NULL
             THEN ceil(s.x * a.spot / a.step - 1e-9) - floor(a.spot / a.step + 1e-9)
           ELSE ceil((s.x * a.spot - a.spot) / a.step - 1e-9) END AS place_exact
    FROM step AS s JOIN axis AS a ON a.market = CASE WHEN $p_split THEN s.market ELSE 'all' END
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
), binned AS (
  SELECT group_name AS market, kind, place, is_far,
         sum(is_account) AS accounts, sum(risk_usd) AS risk_usd, max(risk_usd) AS top_usd,
         sum(seize_usd) AS seize_usd, sum(due_usd) AS due_usd,
         sum(units) AS units,
         sum(heal0) AS heal0, sum(heal1 / nullif(spot, 0e0)) AS heal1_per_price,
         sum(heal_now) AS heal_now
  FROM placed
  GROUP BY group_name, kind, place, is_far
), far AS (
  SELECT market, kind, max(place) AS place FROM edge GROUP BY market, kind
), folded AS (
  -- What lies beyond the last bin becomes one row and what lies far beyond another, so that nothing is dropped.
  SELECT b.market, b.kind,
         CASE WHEN b.place <= coalesce(f.place, 0) THEN b.place
              ELSE coalesce(f.place, 0) + CASE WHEN b.is_far THEN 2 ELSE 1 END END AS place,
         sum(b.accounts) AS accounts, sum(b.risk_usd) AS risk_usd, max(b.top_usd) AS top_usd,
         sum(b.seize_usd) AS seize_usd, sum(b.due_usd) AS due_usd, sum(b.units) AS units, sum(b.heal0) AS heal0,
         sum(b.heal1_per_price) AS heal1_per_price, sum(b.heal_now) AS heal_now
  FROM binned AS b LEFT JOIN far AS f ON f.market = b.market AND f.kind = b.kind
  GROUP BY 1, 2, 3
), row_of AS (
  SELECT market, kind, place, 'bin' AS part, price_near, price_far FROM edge
  UNION ALL
  SELECT f.market, f.kind, f.place + 1, 'beyond', e.price_far, NULL
  FROM far AS f
  JOIN edge AS e ON e.market = f.market AND e.kind = f.kind AND e.place = f.place
  WHERE f.kind <> 'now'
  UNION ALL
  SELECT f.market, f.kind, f.place + 2, 'far', greatest(e.price_far, 10e0 * a.spot), NULL
  FROM far AS f
  JOIN edge AS e ON e.market = f.market AND e.kind = f.kind AND e.place = f.place
  JOIN folded AS b ON b.market = f.market AND b.kind = f.kind AND b.place = f.place + 2
  JOIN axis AS a ON a.market = f.market
), filled AS (
  SELECT r.market, r.kind, r.place, r.part, r.price_near, r.price_far,
         coalesce(b.accounts, 0) AS accounts, coalesce(b.risk_usd, 0e0) AS risk_usd,
         coalesce(b.top_usd, 0e0) AS top_usd, coalesce(b.seize_usd, 0e0) AS seize_usd,
         coalesce(b.due_usd, 0e0) AS due_usd,
         coalesce(b.units, 0e0) AS units, coalesce(b.heal_now, 0e0) AS heal_now,
         sum(coalesce(b.heal0, 0e0)) OVER w AS heal0,
         sum(coalesce(b.heal1_per_price, 0e0)) OVER w AS heal1_per_price
  FROM row_of AS r
  LEFT JOIN folded AS b ON b.market = r.market AND b.kind = r.kind AND b.place = r.place
  WINDOW w AS (PARTITION BY r.market, r.kind ORDER BY r.place
               ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
), healed AS (
  SELECT *,
    CASE WHEN kind = 'now' THEN heal_now
         WHEN price_far IS NOT NULL THEN greatest(heal0 + heal1_per_price * price_far, 0e0)
    END AS heal_cum_usd
  FROM filled
)
SELECT h.market, CASE h.part WHEN 'bin' THEN h.kind ELSE h.part || ' ' || h.kind END AS direction,
       CASE WHEN h.kind = 'up' THEN h.price_near ELSE h.price_far END AS price_from,
       CASE WHEN h.kind <> 'up' THEN h.price_near WHEN h.part = 'beyond' THEN greatest(h.price_near, 10e0 * a.spot)
            ELSE h.price_far END AS price_to,
       h.price_far / a.spot - 1e0 AS move_share,
       CAST(h.accounts AS BIGINT) AS accounts,
       CASE WHEN h.part <> 'far' THEN h.risk_usd END AS collateral_at_risk_usd,
       CASE WHEN h.part <> 'far' THEN h.seize_usd END AS round_seizable_usd,
       CASE WHEN h.kind = 'now' THEN h.due_usd END AS due_usd,
       CASE WHEN h.kind = 'now' THEN h.seize_usd END AS liquidatable_now_usd,
       CASE WHEN h.kind = 'now' THEN h.heal_cum_usd
            ELSE h.heal_cum_usd - coalesce(lag(h.heal_cum_usd) OVER (
              PARTITION BY h.market, h.kind ORDER BY h.place), 0e0) END
         AS seize_to_heal_usd,
       CASE WHEN lower($p_factor) <> 'market' AND h.part <> 'far' THEN h.units END AS units,
       CASE WHEN h.part <> 'far' THEN h.top_usd / nullif(h.risk_usd, 0e0) END AS top1_share,
       CAST(sum(h.accounts) OVER by_place AS BIGINT) AS cum_accounts,
       CASE WHEN h.part <> 'far' THEN sum(h.risk_usd) OVER by_place END AS cum_collateral_at_risk_usd,
       CASE WHEN h.part <> 'far' THEN sum(h.seize_usd) OVER by_place END AS cum_round_seizable_usd,
       h.heal_cum_usd AS cum_seize_to_heal_usd,
       CASE WHEN lower($p_factor) <> 'market' AND h.part <> 'far' THEN sum(h.units) OVER by_place END AS cum_units,
       a.axis_market, a.spot AS axis_price
FROM healed AS h JOIN axis AS a ON a.market = h.market
WINDOW by_place AS (PARTITION BY h.market, h.kind ORDER BY h.place
                    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
ORDER BY h.market, CASE h.kind WHEN 'now' THEN 0 WHEN 'down' THEN 1 ELSE 2 END, h.place
