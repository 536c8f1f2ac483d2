-- name: vix_days
-- title: VIX per day: z-score against the 252 closes before, and its drop from the 20-day peak
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
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
