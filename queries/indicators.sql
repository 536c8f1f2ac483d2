-- name: indicators
-- title: Market indicators: newest value known, its day, age and source
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- show: series value unit as_of state age_seconds=age origin=source
-- note: state: fresh, STALE (older than its publisher's rhythm allows), ended (a series that is no longer published) or n/a with the reason
WITH value AS (
  SELECT series, as_of, value, source, provenance, known_at, published_basis, observed_at, document
  FROM indicators_at(p_known_at := $p_known_at)
  UNION ALL
  SELECT lower(a.asset), CAST(c.time AS DATE), c.close, c.source, c.provenance, c.known_at, 'rule',
         c.observed_at, c.document
  FROM (VALUES ('BTC'), ('ETH')) AS a(asset),
       LATERAL (SELECT * FROM (
                  FROM candles_at(p_asset := a.asset, p_interval := '1h', p_known_at := $p_known_at)
                  UNION ALL
                  FROM candles_at(p_asset := a.asset, p_interval := '1d', p_known_at := $p_known_at)) AS candle
                ORDER BY CAST(time AS DATE) DESC, venue = 'import', time DESC, known_at DESC LIMIT 1) AS c
), newest AS (
  SELECT * FROM value QUALIFY row_number() OVER (PARTITION BY series ORDER BY as_of DESC) = 1
), kind AS (
  SELECT series, any_value(title) AS title, any_value(unit) AS unit,
         any_value(max_age_days) AS max_age_days, any_value(terms) AS terms,
         string_agg(source, ', ' ORDER BY rank) AS sources
  FROM series() GROUP BY series
)
SELECT k.series, k.title, n.value, k.unit, n.as_of,
       CASE WHEN n.series IS NULL AND k.sources = 'import' THEN 'n/a (import a file)'
            WHEN n.series IS NULL THEN 'n/a (not collected)'
            WHEN k.max_age_days IS NULL THEN 'ended'
            WHEN date_diff('day', n.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) > k.max_age_days
              THEN 'STALE' ELSE 'fresh' END AS state,
       86400 * date_diff('day', n.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       n.source, n.provenance, CASE n.provenance WHEN 'sample' THEN 'SAMPLE' ELSE n.source END AS origin, n.known_at, n.published_basis, n.observed_at, k.max_age_days,
       k.sources, k.terms, n.document
FROM kind AS k LEFT JOIN newest AS n ON n.series = k.series
ORDER BY k.series
