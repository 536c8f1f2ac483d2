-- name: alert_feed_silent
-- title: A feed of an exchange is down, stale or rejecting at the end of its coverage
-- param: p_now TIMESTAMPTZ = NULL  time of the run
-- param: p_days DOUBLE = 7.0  ignore feeds whose coverage ended longer ago
SELECT source AS subject,
       CASE WHEN epoch(coalesce($p_now, now())) - epoch(coverage_until) <= 86400 * $p_days THEN 'raise' ELSE 'hold' END
         AS state,
       source || ' is ' || state || ': ' || coalesce(nullif(reason, ''), 'no reason known') AS message,
       covered_share AS value
FROM feeds() WHERE state IN ('down', 'stale', 'rejecting')
