-- name: alert_feed_silent
-- title: A feed of an exchange is down, stale or rejecting at the end of its coverage
-- param: p_now TIMESTAMPTZ = NULL  time of the run
-- param: p_days DOUBLE = 7.0  ignore feeds whose coverage ended longer ago
-- column: subject text source of the feed
-- column: state text raise, or hold where its coverage ended more than p_days ago
-- column: message text one line for people: its state, and why
-- column: value coverage share of its last day in which it was up
SELECT source AS subject,
       CASE WHEN epoch(coalesce($p_now, now())) - epoch(coverage_until) <= 86400 * $p_days THEN 'raise' ELSE 'hold' END
         AS state,
       source || ' is ' || state || ': ' || coalesce(nullif(reason, ''), 'no reason known') AS message,
       covered_share AS value
FROM feeds() WHERE state IN ('down', 'stale', 'rejecting')
