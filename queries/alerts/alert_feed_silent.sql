-- name: alert_feed_silent
-- title: A feed of an exchange is down or stale at the end of what was watched
SELECT source AS subject, 'raise' AS state,
       source || ' is ' || state || ': ' || coalesce(nullif(reason, ''), 'no reason known') AS message,
       covered_share AS value
FROM feeds() WHERE state IN ('down', 'stale')
