-- name: look_ahead
-- title: Figures that count as known before their publication, or before a correction was observed
-- column: kind text indicator, candle, statement or supply
-- column: subject text series, asset and interval, token, or token and chain
-- column: as_of date day the figure describes
-- columns of: statements published_basis published_at known_at observed_at
SELECT kind, subject, as_of, published_basis, published_at, known_at, observed_at
FROM (
  SELECT 'indicator' AS kind, series AS subject, as_of, published_basis, published_at, known_at, observed_at FROM indicator_values
  UNION ALL
  SELECT 'candle', asset || ' ' || interval, CAST(time AS DATE), published_basis, published_at, known_at, observed_at FROM candles
  UNION ALL
  SELECT 'statement', token, as_of, published_basis, published_at, known_at, observed_at FROM statements
  UNION ALL
  SELECT 'supply', token || ' ' || chain, as_of, published_basis, published_at, known_at, observed_at FROM supplies
) AS f
WHERE known_at <> CASE published_basis WHEN 'observed' THEN observed_at ELSE published_at END
   OR (published_basis <> 'observed' AND published_at IS NULL)
ORDER BY kind, subject, as_of
