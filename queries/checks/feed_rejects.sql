-- name: feed_rejects
-- title: Spans of a feed with messages that cannot be parsed, covered or not
-- columns of: coverage source run from_time to_time state rejects reason
-- note: rejecting: not covered until its history is read (`chainwatch collect …-history`), for at most 7 days; any other state: covered although messages cannot be parsed
WITH newest AS (
  SELECT source, max(to_time) AS until FROM coverage GROUP BY source
), past AS (
  SELECT source, max(stored_at) AS stored_at FROM loads WHERE source LIKE '%-history' GROUP BY source
)
SELECT c.source, c.run, c.from_time, c.to_time, c.state, c.rejects, c.reason
FROM coverage AS c
JOIN newest AS n ON n.source = c.source
LEFT JOIN past AS p ON p.source = c.source || '-history'
-- a history leaves out the last minute before it is asked
WHERE (c.state = 'rejecting' AND c.to_time > n.until - INTERVAL 7 DAY
       AND (p.stored_at IS NULL OR p.stored_at < c.to_time + INTERVAL 1 MINUTE))
   OR (c.rejects > 0 AND c.state IN ('up', 'partial', 'stale'))
