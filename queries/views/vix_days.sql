-- name: vix_days
-- title: VIX per day: z-score against the 252 closes before, and its drop from the 20-day peak
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: as_of date day of the close, in the publisher's calendar
-- column: vix figure close of the volatility index, points
-- columns of: indicators_at() source provenance known_at observed_at document
-- column: z figure close against the 252 closes before, in their standard deviations; null with fewer of them
-- column: peak figure highest close of this day and the 20 before
-- column: peak_as_of date day of that close
-- column: off_peak fraction close over that peak, less 1; null with fewer than 21 closes
-- column: falling flag lower than the day before, and that lower than its day before
SELECT as_of, value AS vix, source, provenance, known_at, observed_at, document,
       CASE WHEN count(*) OVER before = 252
            THEN (value - avg(value) OVER before) / stddev_samp(value) OVER before END AS z,
       max(value) OVER peak AS peak, arg_max(as_of, value) OVER peak AS peak_as_of,
       CASE WHEN count(*) OVER peak = 21 THEN value / max(value) OVER peak - 1 END AS off_peak,
       value < lag(value) OVER day AND lag(value) OVER day < lag(value, 2) OVER day AS falling
FROM indicators_at(p_known_at := $p_known_at) WHERE series = 'vix'
WINDOW day AS (ORDER BY as_of),
       before AS (ORDER BY as_of ROWS BETWEEN 252 PRECEDING AND 1 PRECEDING),
       peak AS (ORDER BY as_of ROWS BETWEEN 20 PRECEDING AND CURRENT ROW)
