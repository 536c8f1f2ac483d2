-- name: reserve_statements
-- title: Disclosures of a token's reserve: stated totals, lag and document
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'USDT'  token, or all
-- param: p_last BIGINT = 4  how many of the newest of each kind
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: statements_at() token as_of
-- column: previous_as_of date day of the statement before; null for the first
-- columns of: statements_at() evidence kind unit
-- column: assets_usd usd total reserves as stated, in unit; null where not stated
-- column: liabilities_usd usd total liabilities as stated, in unit; null where not stated
-- column: excess_usd usd assets less liabilities of the same document, in unit; null where either is not stated
-- column: ratio multiple assets over liabilities of the same document; null where either is not stated
-- column: btc_break_share share drop of bitcoin that would use up the excess; null without bitcoin or an excess
-- column: published date day of publication; null where not known
-- column: lag_days days days from as_of to publication; null where that is not known
-- column: age_seconds seconds whole days since as_of, at p_known_at or now
-- column: sha256 id first eight digits of the document's hash
-- column: source text source that read it
-- column: origin text source, or SAMPLE for invented figures
-- columns of: statements_at() provenance gate citation document published_basis known_at observed_at
-- show: as_of evidence assets_usd=assets liabilities_usd=liabilities ratio btc_break_share=btc_break lag_days=lag age_seconds=age sha256 origin=source
-- note: ratio and excess compare figures of the same document only; XAUT in troy ounces
-- note: lag: days from the day described to publication
-- note: BTC break: drop of bitcoin that would use up the excess
WITH selected AS (
  SELECT * FROM statements_at(p_token := $p_token, p_known_at := $p_known_at)
)
SELECT c.token, c.as_of, b.as_of AS previous_as_of, c.evidence, c.kind, c.unit, CAST(c.assets AS DOUBLE) AS assets_usd,
       CAST(c.liabilities AS DOUBLE) AS liabilities_usd,
       CAST(c.assets - c.liabilities AS DOUBLE) AS excess_usd,
       CAST(c.assets AS DOUBLE) / nullif(CAST(c.liabilities AS DOUBLE), 0) AS ratio,
       CAST(c.assets - c.liabilities AS DOUBLE) / (
         SELECT sum(CAST(i.usd AS DOUBLE)) FROM reserve_items AS i
         WHERE i.statement = c.statement AND i.asset_class = 'bitcoin') AS btc_break_share,
       CAST(c.published_at AS DATE) AS published,
       date_diff('day', c.as_of, CAST(c.published_at AS DATE)) AS lag_days,
       86400 * date_diff('day', c.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       left(c.document, 8) AS sha256, c.source,
       CASE c.provenance WHEN 'sample' THEN 'SAMPLE' ELSE c.source END AS origin, c.provenance, c.gate, c.citation, c.document,
       c.published_basis, c.known_at, c.observed_at
FROM selected AS c LEFT JOIN selected AS b ON b.statement = c.previous
WHERE c.recency <= $p_last
ORDER BY c.token, c.kind, c.as_of DESC
