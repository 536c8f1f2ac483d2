-- name: alert_feed_mute
-- title: A feed of an exchange was up in its last day and sent none of what its history has
-- column: subject text source of the feed
-- column: state text raise
-- column: message text one line for people: how many liquidations, in how many spans
-- column: value count liquidations of the history that the feed did not send
SELECT f.source AS subject, 'raise' AS state,
       f.source || ' was up and sent no liquidation in ' || count(*) || ' spans of the last day, of which its history has '
         || sum(f.missing) AS message,
       CAST(sum(f.missing) AS BIGINT) AS value
FROM feed_mute() AS f
JOIN (SELECT source, max(to_time) AS until FROM coverage GROUP BY source) AS n ON n.source = f.source
WHERE f.to_time > n.until - INTERVAL 1 DAY
GROUP BY f.source
