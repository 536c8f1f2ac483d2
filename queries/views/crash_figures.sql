-- name: crash_figures
-- title: Five crashes, one row per figure: value, unit, day, source, age
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: event text name of the crash: its day
-- column: metric text what is measured, e.g. BTC close
-- column: value figure the figure, in unit; null where there is none
-- column: unit text USD, share, points, sd (standard deviations), ratio, bp, % or bn USD
-- column: figure text value as people read it, or n/a with the reason
-- column: as_of date day the figure is of; null where there is none
-- column: age_seconds seconds whole days since as_of, to p_known_at, or now
-- column: source text source of the figure; of liquidations the venues or markets
-- column: provenance text where the figure comes from; null for liquidations
-- column: observed_at time when this version was first observed here; null for liquidations
-- column: position index place of the metric in the report, from 1
WITH move AS (
  SELECT * FROM price_moves(p_asset := 'BTC', p_known_at := $p_known_at)
), ether AS (
  SELECT * FROM price_moves(p_asset := 'ETH', p_known_at := $p_known_at)
), vix AS (
  SELECT * FROM vix_days(p_known_at := $p_known_at)
), value AS (
  SELECT *, value / lag(value) OVER (PARTITION BY series ORDER BY as_of) - 1 AS day_move
  FROM indicators_at(p_known_at := $p_known_at) WHERE series IN ('btc_mvrv', 'dgs10', 'gold', 'nasdaq')
), spread AS (
  SELECT * FROM spread_days(p_known_at := $p_known_at)
), reserve AS (
  SELECT e.event, s.as_of, CAST(s.assets AS DOUBLE) / 1e9 AS value, s.source, s.provenance, s.observed_at
  FROM crash_events() AS e
  JOIN statements_at(p_token := 'USDT', p_known_at := $p_known_at) AS s
    ON s.evidence = 'attestation' AND s.known_at <= e.window_to
  QUALIFY row_number() OVER (PARTITION BY e.event ORDER BY s.as_of DESC) = 1
), figure AS (
  SELECT event, 1 AS n, 'BTC close' AS metric, close AS value, 'USD' AS unit, as_of, source, provenance, observed_at FROM move
  UNION ALL SELECT event, 2, 'BTC low', low, 'USD', as_of, source, provenance, observed_at FROM move
  UNION ALL SELECT event, 3, 'BTC close to close', close_to_close, 'share', as_of, source, provenance, observed_at FROM move
  UNION ALL SELECT event, 4, 'BTC day high to low', high_to_low, 'share', as_of, source, provenance, observed_at FROM move
  UNION ALL SELECT event, 5, 'BTC in the window', window_move, 'share', as_of, window_source, window_provenance, observed_at FROM move
  UNION ALL SELECT event, 6, 'BTC low next day', low_after, 'USD', as_of + 1, source, provenance, observed_at FROM move
  UNION ALL SELECT event, 7, 'ETH close to close', close_to_close, 'share', as_of, source, provenance, observed_at FROM ether
  UNION ALL SELECT e.event, 8, 'VIX close', v.vix, 'points', v.as_of, v.source, v.provenance, v.observed_at
            FROM crash_events() AS e LEFT JOIN vix AS v ON v.as_of = e.as_of
  UNION ALL SELECT e.event, 9, 'VIX z-score', v.z, 'sd', v.as_of, v.source, v.provenance, v.observed_at
            FROM crash_events() AS e LEFT JOIN vix AS v ON v.as_of = e.as_of
  UNION ALL SELECT e.event, 10, 'BTC MVRV', v.value, 'ratio', v.as_of, v.source, v.provenance, v.observed_at
            FROM crash_events() AS e LEFT JOIN value AS v ON v.series = 'btc_mvrv' AND v.as_of = e.as_of
  UNION ALL SELECT e.event, 11, 'SOFR - IORB/IOER', s.spread_bp, 'bp', s.as_of, s.source, s.provenance, s.observed_at
            FROM crash_events() AS e LEFT JOIN spread AS s ON s.as_of = e.as_of
  UNION ALL SELECT e.event, 12, '10-year yield', v.value, '%', v.as_of, v.source, v.provenance, v.observed_at
            FROM crash_events() AS e LEFT JOIN value AS v ON v.series = 'dgs10' AND v.as_of = e.as_of
  UNION ALL SELECT e.event, 13, 'gold, day', v.day_move, 'share', v.as_of, v.source, v.provenance, v.observed_at
            FROM crash_events() AS e LEFT JOIN value AS v ON v.series = 'gold' AND v.as_of = e.as_of
  UNION ALL SELECT e.event, 14, 'Nasdaq, day', v.day_move, 'share', v.as_of, v.source, v.provenance, v.observed_at
            FROM crash_events() AS e LEFT JOIN value AS v ON v.series = 'nasdaq' AND v.as_of = e.as_of
  UNION ALL SELECT e.event, 15, 'USDT reserve, bn USD', r.value, 'bn USD', r.as_of, r.source, r.provenance, r.observed_at
            FROM crash_events() AS e LEFT JOIN reserve AS r ON r.event = e.event
), written AS (
  SELECT f.*, CASE WHEN f.value IS NOT NULL THEN NULL
                   WHEN f.metric = 'BTC in the window' THEN m.window_basis
                   WHEN f.metric = 'VIX z-score' AND f.as_of IS NOT NULL THEN 'n/a (not 252 days before)'
                   WHEN f.metric = 'USDT reserve, bn USD' THEN 'n/a (none published by then)'
                   WHEN f.metric = 'SOFR - IORB/IOER' AND f.as_of IS NOT NULL THEN 'n/a (no IORB or IOER stored)'
                   WHEN f.as_of IS NULL OR f.source IS NULL THEN 'n/a (not collected)'
                   ELSE 'n/a (no day before)' END AS reason
  FROM figure AS f JOIN move AS m ON m.event = f.event
  UNION ALL SELECT event, 16, 'exchange liquidations', usd, 'USD', CASE WHEN usd IS NOT NULL THEN CAST(event AS DATE) END,
                   venues, NULL, NULL, state FROM exchange_sums()
  UNION ALL SELECT event, 17, 'of the window covered', coverage_share, 'share', CASE WHEN coverage_share IS NOT NULL THEN CAST(event AS DATE) END,
                   venues, NULL, NULL, state FROM exchange_sums()
  UNION ALL SELECT event, 18, 'on-chain liquidations', usd, 'USD', CASE WHEN usd IS NOT NULL THEN CAST(event AS DATE) END,
                   markets, NULL, NULL, state FROM chain_sums()
)
SELECT event, metric, value, unit,
       CASE WHEN value IS NULL THEN reason
            WHEN n = 17 THEN printf('%.1f %%', 100 * value)
            WHEN unit = 'share' THEN printf('%+.1f %%', 100 * value)
            WHEN unit = 'USD' AND n >= 16 THEN '≥ ' || format('{:,.0f}', value)
            WHEN unit = 'USD' THEN format('{:,.0f}', value)
            WHEN unit = 'bp' THEN printf('%+.0f bp', value)
            WHEN unit = '%' THEN printf('%.2f %%', value)
            WHEN unit = 'ratio' THEN printf('%.3f', value)
            ELSE printf('%.2f', value) END AS figure,
       as_of, 86400 * date_diff('day', as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       source, provenance, observed_at, n AS position
FROM written
ORDER BY position, event
