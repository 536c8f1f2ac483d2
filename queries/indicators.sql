-- name: indicators
-- title: Market indicators: newest value known, its day, age and source
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: series() series title
-- column: value figure newest value that is known, in unit; null where there is none
-- columns of: series() unit
-- column: as_of date day the value is of; null where there is none
-- column: state text fresh, STALE, ended (no longer published) or n/a with the reason
-- column: age_seconds seconds whole days since as_of, at p_known_at or now; null where there is no value
-- column: source text source that delivered it; null where there is none
-- column: provenance text where the value comes from: live, imported or sample; null where there is none
-- column: origin text source, or SAMPLE for invented figures
-- column: known_at time time from which the value counts as known
-- column: published_basis text source (stated), rule (usual lag) or observed
-- column: observed_at time when this version was first observed here
-- columns of: series() max_age_days
-- column: sources list sources that may deliver it, preferred first
-- columns of: series() terms
-- column: document id sha256 of the document; null where there is no value
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
