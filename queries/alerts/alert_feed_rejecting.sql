-- name: alert_feed_rejecting
-- title: A feed of an exchange sent messages that cannot be parsed in its last day
-- column: subject text source of the feed
-- column: state text raise
-- column: message text one line for people: how long it was not covered, and why
-- column: value share part of its last day in which its messages could not be parsed
SELECT source AS subject, 'raise' AS state,
       source || ' is not covered for ' || printf('%.1f', rejecting_seconds) || ' s of the last day: ' || rejecting_reason AS message,
       rejecting_share AS value
FROM feeds() WHERE rejecting_share > 0
