-- name: feed_rejects
-- title: Spans of a feed in which something could not be read: not covered, and those that claim to be
-- note: rejecting: not covered, its history counts (`chainwatch collect …-history`); any other state: claimed as covered although something could not be read
SELECT source, run, from_time, to_time, state, rejects, reason
FROM coverage
WHERE state = 'rejecting' OR (rejects > 0 AND state IN ('up', 'partial', 'stale'))
