-- name: reserve_history
-- title: Composition of a reserve over time: share of each class per disclosure
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'USDT'  token
-- param: p_last BIGINT = 1000  how many of the newest disclosures of each kind
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: statements_at() token as_of evidence kind
-- column: assets_bn usd-bn all assets as stated, in billions
-- column: treasuries_share share part of US treasuries, 0 where there is no such row
-- column: repo_share share part of treasury repo, 0 where there is no such row
-- column: gold_share share part of precious metals; null where there is no such row
-- column: bitcoin_share share part of bitcoin; null where there is no such row
-- column: loans_share share part of secured loans; null where there is no such row
-- column: cash_share share part of cash and deposits, 0 where there is no such row
-- column: rest_share share part of all other classes
-- column: published date day of publication; null where not known
-- column: lag_days days days from as_of to publication; null where that is not known
-- column: age_seconds seconds whole days since as_of, at p_known_at or now
-- column: source text source that read it
-- column: origin text source, or SAMPLE for invented figures
-- columns of: statements_at() provenance citation document
-- show: as_of evidence assets_bn treasuries_share repo_share gold_share bitcoin_share loans_share cash_share rest_share lag_days=lag origin=source
-- note: in 2022 gold is within `rest`: the reports state bonds, funds and metals as one row
-- note: assets in billions of USD; lag: days from the day described to publication
WITH share AS (
  SELECT statement, asset_class, sum(CAST(usd AS DOUBLE)) AS usd FROM reserve_items GROUP BY ALL
)
SELECT c.token, c.as_of, c.evidence, c.kind, CAST(c.assets AS DOUBLE) / 1e9 AS assets_bn,
       coalesce(sum(s.usd) FILTER (s.asset_class = 'US treasuries'), 0) / CAST(any_value(c.assets) AS DOUBLE) AS treasuries_share,
       coalesce(sum(s.usd) FILTER (s.asset_class = 'treasury repo'), 0) / CAST(any_value(c.assets) AS DOUBLE) AS repo_share,
       sum(s.usd) FILTER (s.asset_class = 'precious metals') / CAST(any_value(c.assets) AS DOUBLE) AS gold_share,
       sum(s.usd) FILTER (s.asset_class = 'bitcoin') / CAST(any_value(c.assets) AS DOUBLE) AS bitcoin_share,
       sum(s.usd) FILTER (s.asset_class = 'secured loans') / CAST(any_value(c.assets) AS DOUBLE) AS loans_share,
       coalesce(sum(s.usd) FILTER (s.asset_class = 'cash and deposits'), 0) / CAST(any_value(c.assets) AS DOUBLE) AS cash_share,
       coalesce(sum(s.usd) FILTER (s.asset_class NOT IN ('US treasuries', 'treasury repo', 'precious metals',
                'bitcoin', 'secured loans', 'cash and deposits')), 0) / CAST(any_value(c.assets) AS DOUBLE) AS rest_share,
       CAST(c.published_at AS DATE) AS published, date_diff('day', c.as_of, CAST(c.published_at AS DATE)) AS lag_days,
       86400 * date_diff('day', c.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       c.source, CASE c.provenance WHEN 'sample' THEN 'SAMPLE' ELSE c.source END AS origin, c.provenance, c.citation, c.document
FROM statements_at(p_token := $p_token, p_known_at := $p_known_at) AS c
JOIN share AS s ON s.statement = c.statement
WHERE c.recency <= $p_last
GROUP BY ALL
ORDER BY c.kind, c.as_of DESC
