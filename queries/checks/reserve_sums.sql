-- name: reserve_sums
-- title: Accepted disclosures whose own figures do not add up, to a cent
-- columns of: statements token kind as_of source assets
-- column: lines_usd usd sum of its lines; null without any
-- columns of: statements liabilities equity
-- note: stated lines must sum to the assets, and assets less liabilities to the stated equity
WITH line AS (
  SELECT statement, sum(CAST(usd AS DOUBLE)) AS usd, count(*) AS lines FROM reserve_items GROUP BY statement
)
SELECT s.token, s.kind, s.as_of, s.source, CAST(s.assets AS DOUBLE) AS assets, l.usd AS lines_usd,
       CAST(s.liabilities AS DOUBLE) AS liabilities, CAST(s.equity AS DOUBLE) AS equity
FROM statements AS s LEFT JOIN line AS l ON l.statement = s.statement
WHERE abs(l.usd - CAST(s.assets AS DOUBLE)) > 0.01
   OR abs(CAST(s.assets - s.liabilities - s.equity AS DOUBLE)) > 0.01
ORDER BY s.token, s.as_of
