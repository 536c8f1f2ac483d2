-- name: bottom
-- title: Checklist for a bottom: VIX back from its peak, MVRV at 1.0 or less, calm Treasury yields
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all, as of now
-- param: p_vix_drop DOUBLE = 0.2  how far VIX must be under its 20-day peak
-- param: p_mvrv DOUBLE = 1.0  the most MVRV may be
-- column: test text what is tested; all three: the result
-- column: state text pass, fail or unknown (a figure is missing or stale)
-- column: figure text the figure as people read it, or n/a with the reason
-- column: rule text rule by which it passes
-- column: value figure the figure itself: drop from the peak as a share, MVRV, bps, or how many passed; null where missing
-- column: as_of date day the figure is of; of the result the oldest of the three; null where missing
-- column: age_seconds seconds whole days since as_of, at p_known_at or now; of the result the greatest; null where missing
-- column: source text source of the figure; null for the result and where missing
-- column: origin text source, or SAMPLE for invented figures
-- column: provenance text where the figure comes from; of the result sample where one of the three is
-- column: counts flag counts for the result
-- column: series text series of the figure; null for the result
-- column: max_age_days days greatest age at which the figure is fresh; null for the result
-- column: known_at time when the figure was known; of the result the latest
-- column: observed_at time when this version was first observed here; of the result the latest
-- column: document id sha256 of the document; null for the result and where missing
-- show: test state figure rule as_of age_seconds=age origin=source
-- note: all three must pass; a missing or stale figure makes its row and the result unknown
-- note: a rule of thumb from an article of January 2026, not a forecast
WITH clock AS (
  SELECT coalesce($p_known_at, now()) AS time
), limit_days AS (
  SELECT series, max(max_age_days) AS days FROM series() GROUP BY series
), vix AS (
  SELECT * FROM vix_days(p_known_at := $p_known_at) ORDER BY as_of DESC LIMIT 1
), mvrv AS (
  SELECT * FROM indicators_at(p_known_at := $p_known_at) WHERE series = 'btc_mvrv' ORDER BY as_of DESC LIMIT 1
), holders AS (
  SELECT * FROM indicators_at(p_known_at := $p_known_at) WHERE series = 'btc_sth_mvrv' ORDER BY as_of DESC LIMIT 1
), yield AS (
  SELECT * FROM yield_days(p_known_at := $p_known_at) ORDER BY as_of DESC LIMIT 1
), test AS (
  SELECT 1 AS n, 'VIX off its peak' AS test, true AS counts, 'vix' AS series,
         printf('%.0f %% or more under the 20-day peak, falling', 100 * $p_vix_drop) AS rule,
         v.off_peak AS value, v.off_peak <= -$p_vix_drop AND v.falling AS holds,
         printf('%.2f, %.1f %% under %.2f of %s, %s', v.vix, abs(100 * v.off_peak), v.peak, CAST(v.peak_as_of AS VARCHAR),
                CASE WHEN v.falling THEN 'falling' ELSE 'not falling' END) AS figure,
         v.as_of, v.source, v.provenance, v.known_at, v.observed_at, v.document
  FROM clock LEFT JOIN vix AS v ON true
  UNION ALL
  SELECT 2, 'MVRV', true, 'btc_mvrv', printf('%.2f or less', $p_mvrv), m.value, m.value <= $p_mvrv,
         printf('%.3f', m.value), m.as_of, m.source, m.provenance, m.known_at, m.observed_at, m.document
  FROM clock LEFT JOIN mvrv AS m ON true
  UNION ALL
  SELECT 3, 'MVRV, short holders', false, 'btc_sth_mvrv', printf('%.2f or less (not counted)', $p_mvrv),
         m.value, m.value <= $p_mvrv, printf('%.3f', m.value), m.as_of, m.source, m.provenance,
         m.known_at, m.observed_at, m.document
  FROM clock LEFT JOIN holders AS m ON true
  UNION ALL
  SELECT 4, 'Treasury yields', true, 'dgs10', '20-day volatility under its 1-year median',
         y.vol_bp, y.vol_bp < y.median_bp,
         printf('%.1f bp a day, median %.1f bp, yield %.2f %%', y.vol_bp, y.median_bp, y.value),
         y.as_of, y.source, y.provenance, y.known_at, y.observed_at, y.document
  FROM clock LEFT JOIN yield AS y ON true
), rated AS (
  SELECT t.*, date_diff('day', t.as_of, CAST(c.time AS DATE)) AS age_days, l.days AS max_age_days,
         CASE WHEN t.as_of IS NULL THEN 'unknown'
              WHEN date_diff('day', t.as_of, CAST(c.time AS DATE)) > l.days THEN 'unknown'
              WHEN t.holds IS NULL THEN 'unknown'
              WHEN t.holds THEN 'pass' ELSE 'fail' END AS state,
         CASE WHEN t.as_of IS NULL THEN 'n/a (not collected)'
              WHEN t.holds IS NULL THEN 'n/a (not enough history)'
              WHEN date_diff('day', t.as_of, CAST(c.time AS DATE)) > l.days
                THEN 'STALE: ' || t.figure ELSE t.figure END AS shown
  FROM test AS t CROSS JOIN clock AS c JOIN limit_days AS l ON l.series = t.series
)
SELECT test, state, shown AS figure, rule, value, as_of, 86400 * age_days AS age_seconds, source,
       CASE provenance WHEN 'sample' THEN 'SAMPLE' ELSE source END AS origin, provenance, counts, series, max_age_days, known_at, observed_at, document
FROM (
  SELECT n, test, state, shown, rule, value, as_of, age_days, source, provenance, counts, series,
         max_age_days, known_at, observed_at, document
  FROM rated
  UNION ALL
  SELECT 9, 'all three',
         CASE WHEN bool_or(state = 'unknown') THEN 'unknown'
              WHEN bool_and(state = 'pass') THEN 'pass' ELSE 'fail' END,
         count(*) FILTER (state = 'pass') || ' of 3 pass, ' || count(*) FILTER (state = 'unknown') || ' unknown',
         'every one of the three', CAST(count(*) FILTER (state = 'pass') AS DOUBLE), min(as_of),
         max(age_days), NULL, CASE WHEN bool_or(provenance = 'sample') THEN 'sample' END, true, NULL, NULL,
         max(known_at), max(observed_at), NULL
  FROM rated WHERE counts
) AS listed
ORDER BY n
