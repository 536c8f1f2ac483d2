-- name: alert_reserve_drift
-- title: A class of a stablecoin's reserve moved by many points since the disclosure before
-- param: p_points DOUBLE = 5.0  percentage points
-- param: p_now TIMESTAMPTZ = NULL  time of the run
-- param: p_days BIGINT = 120  ignore older disclosures
-- column: subject text token, class, kind of disclosure and its day
-- column: state text raise
-- column: message text one line for people: by how many points the class moved, and to which share
-- column: value points change of its part of all assets
-- once: yes
WITH composed AS (
  -- Totals without classes are another kind of disclosure: they replace none with classes.
  SELECT s.token, s.statement, s.as_of
  FROM statements_at() AS s
  WHERE s.statement IN (SELECT statement FROM reserve_items)
), newest AS (
  SELECT token, max(as_of) AS as_of FROM composed GROUP BY token
)
SELECT d.token || ' ' || d.asset_class || ' ' || d.kind || ' ' || d.as_of AS subject, 'raise' AS state,
       printf('%s: %s moved by %.1f points to %.1f %% of the reserve on %s', d.token, d.asset_class, d.points,
              100 * d.total_share, CAST(d.as_of AS VARCHAR)) AS message, d.points AS value
FROM reserve_drift(p_points := $p_points) AS d
JOIN newest AS n ON n.token = d.token AND n.as_of = d.as_of
WHERE date_diff('day', d.as_of, CAST(coalesce($p_now, now()) AS DATE)) <= $p_days
