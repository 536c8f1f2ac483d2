-- name: spreads
-- title: SOFR against the rate the Fed pays on reserves, in basis points, newest days first
-- needs: known_at(p_known_at), provenance
-- param: p_last BIGINT = 10  how many of the newest days
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: spread_days() as_of
-- column: sofr_pct percent secured overnight financing rate
-- column: paid_pct percent rate that the Fed pays on reserves; null where none of the seven days before is stored
-- columns of: spread_days() administered_rate spread_bp
-- column: percentile_share share part of all days up to this one with a smaller spread; null without a spread
-- column: percentile_without_month_ends_share share percentile without the days around month ends; null on such a day
-- columns of: spread_days() month_end
-- column: days days days up to this one that have a spread
-- column: since date first day that has one
-- column: age_seconds seconds whole days since as_of, at p_known_at or now
-- columns of: spread_days() source
-- column: origin text source, or SAMPLE for invented figures
-- columns of: spread_days() administered_rate_source administered_rate_as_of known_at observed_at provenance
-- show: as_of sofr_pct=sofr_% paid_pct=paid_% administered_rate=rate_paid spread_bp percentile_share=percentile percentile_without_month_ends_share=without_month_ends month_end age_seconds=age origin=source
-- note: percentile: share of all days from {since} up to that day with a smaller spread (to the newest: {days} days); then the same without the days around month ends
-- note: rate paid: IOER up to 2021-07-28, IORB from then on
WITH day AS (SELECT * FROM spread_days(p_known_at := $p_known_at))
SELECT d.as_of, d.sofr AS sofr_pct, d.paid AS paid_pct, d.administered_rate, d.spread_bp,
       CASE WHEN d.spread_bp IS NOT NULL THEN
         (SELECT count(*) FILTER (e.spread_bp < d.spread_bp) / nullif(CAST(count(*) AS DOUBLE) - 1, 0)
          FROM day AS e WHERE e.as_of <= d.as_of AND e.spread_bp IS NOT NULL) END AS percentile_share,
       CASE WHEN d.spread_bp IS NOT NULL AND NOT d.month_end THEN
         (SELECT count(*) FILTER (e.spread_bp < d.spread_bp) / nullif(CAST(count(*) AS DOUBLE) - 1, 0)
          FROM day AS e WHERE e.as_of <= d.as_of AND e.spread_bp IS NOT NULL AND NOT e.month_end) END
         AS percentile_without_month_ends_share,
       d.month_end,
       (SELECT count(*) FROM day AS e WHERE e.as_of <= d.as_of AND e.spread_bp IS NOT NULL) AS days,
       (SELECT min(e.as_of) FROM day AS e WHERE e.spread_bp IS NOT NULL) AS since,
       86400 * date_diff('day', d.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       d.source, CASE d.provenance WHEN 'sample' THEN 'SAMPLE' ELSE d.source END AS origin, d.administered_rate_source, d.administered_rate_as_of, d.known_at, d.observed_at, d.provenance
FROM day AS d
ORDER BY d.as_of DESC
LIMIT $p_last
