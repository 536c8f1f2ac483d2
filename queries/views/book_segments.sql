-- name: book_segments
-- title: Market impact: the order books of all venues as straight segments of units against distance
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor that is sold
-- param: p_as_of TIMESTAMPTZ = NULL  newest order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- param: p_side TEXT = 'bid'  bid (takes sales) or ask (takes purchases)
-- param: p_sigma DOUBLE = 0.03  MODEL: daily volatility in the square-root law beyond the books
-- param: p_y DOUBLE = 1  MODEL: factor of the square-root law
-- param: p_adv DOUBLE = NULL  units traded per day; null: as the venues state it
-- column: units_from amount units already sold (or bought) at which the segment begins
-- column: units_to amount units at which it ends; null for the last segment, which has no end
-- column: distance_from fraction impact at the beginning of the segment, as a share of the mid price
-- column: distance_to fraction impact at its end; null for the last segment
-- column: slope figure growth of the impact per unit within the segment
-- column: law figure MODEL: factor of the square root of units beyond the books; 0 within them
-- note: impact of q units = distance_from + (q - units_from) · slope + law · (√q - √units_from), in the segment that begins below q
-- note: the last segment has no end: square root of volume, y · sigma · √(q / adv), added where the books end, so that it is never below the law or the books; without a volume the last slope continues
-- note: depth is a lower bound: nothing is counted beyond the reach of a venue's book
WITH book AS (
  SELECT venue, symbol, kind, distance, units
  FROM depth_at(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age)
  WHERE side = $p_side
), venue AS (
  SELECT DISTINCT venue, symbol, kind FROM book
), place AS (
  SELECT DISTINCT distance FROM book
), nearest AS (
  -- The nearest stored points of each venue below and above each distance.
  SELECT v.venue, v.symbol, v.kind, p.distance,
    coalesce(last_value(b.distance IGNORE NULLS) OVER before, 0e0) AS d0,
    coalesce(last_value(b.units IGNORE NULLS) OVER before, 0e0) AS u0,
    first_value(b.distance IGNORE NULLS) OVER after AS d1,
    first_value(b.units IGNORE NULLS) OVER after AS u1
  FROM venue AS v CROSS JOIN place AS p
  LEFT JOIN book AS b ON b.venue = v.venue AND b.symbol = v.symbol AND b.kind = v.kind
                     AND b.distance = p.distance
  WINDOW before AS (PARTITION BY v.venue, v.symbol, v.kind ORDER BY p.distance
                    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
         after AS (PARTITION BY v.venue, v.symbol, v.kind ORDER BY p.distance
                   ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
), summed AS (
  SELECT distance, sum(CASE WHEN d1 IS NULL OR d1 <= d0 THEN u0
                            ELSE u0 + (u1 - u0) * (distance - d0) / (d1 - d0) END) AS units
  FROM nearest GROUP BY distance
), span AS (
  SELECT coalesce(lag(units) OVER (ORDER BY distance), 0e0) AS units_from, units AS units_to,
         coalesce(lag(distance) OVER (ORDER BY distance), 0e0) AS distance_from,
         distance AS distance_to
  FROM summed
), filled AS (
  -- Where a book has a hole, the next sale starts beyond it.
  SELECT *, (distance_to - distance_from) / (units_to - units_from) AS slope
  FROM span WHERE units_to > units_from
)
SELECT units_from, units_to, distance_from, distance_to, slope, 0e0 AS law FROM filled
UNION ALL
SELECT e.units, NULL, greatest(e.distance, coalesce(e.law, 0e0) * sqrt(e.units)), NULL,
       CASE WHEN e.law IS NULL THEN e.slope ELSE 0e0 END, coalesce(e.law, 0e0)
FROM (
  SELECT coalesce(max(f.units_to), 0e0) AS units, coalesce(max(p.distance), 0e0) AS distance,
         max_by(f.slope, f.units_to) AS slope,
         $p_y * $p_sigma / sqrt(coalesce($p_adv, max(v.units))) AS law
  FROM (SELECT max(distance) AS distance FROM place) AS p
  CROSS JOIN traded_daily(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age) AS v
  LEFT JOIN filled AS f ON true
) AS e
