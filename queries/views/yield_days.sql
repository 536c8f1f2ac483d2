-- name: yield_days
-- title: 10-year Treasury yield per day, and how much it moves: standard deviation of 20 daily changes in bp
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: as_of date day of the yield
-- column: value figure 10-year yield, %
-- columns of: indicators_at() source provenance known_at observed_at document
-- column: change_bp bps change from the stored day before; null for the first
-- column: vol_bp bps standard deviation of the last 20 changes; null with fewer
-- column: median_bp bps median of vol_bp over the last 252 days; null with fewer
-- note: a day without a yield is skipped: the change then spans more than a day, and is never 0 because data are missing
SELECT *, CASE WHEN count(vol_bp) OVER year = 252 THEN median(vol_bp) OVER year END AS median_bp
FROM (
  SELECT *, CASE WHEN count(change_bp) OVER month = 20 THEN stddev_samp(change_bp) OVER month END AS vol_bp
  FROM (
    SELECT as_of, value, source, provenance, known_at, observed_at, document,
           100 * (value - lag(value) OVER (ORDER BY as_of)) AS change_bp
    FROM indicators_at(p_known_at := $p_known_at) WHERE series = 'dgs10'
  ) AS changed
  WINDOW month AS (ORDER BY as_of ROWS BETWEEN 19 PRECEDING AND CURRENT ROW)
) AS moved
WINDOW year AS (ORDER BY as_of ROWS BETWEEN 251 PRECEDING AND CURRENT ROW)
