-- name: freshness
-- title: Age of each market's snapshot, each source's last load and each feed
-- column: kind text snapshot, load or feed
-- column: name text market, source with its target, or source of the feed
-- column: time time the block's time, when the newest load was stored, or end of the newest span
-- column: age_seconds seconds time since then
-- column: detail text block of the snapshot, number of loads, or state of the feed with its reason
-- column: rows count accounts of the snapshot, or rows stored
-- column: failed count accounts whose health factor is n/a, or messages that cannot be parsed
-- column: checked count accounts compared with the chain; null where nothing was, and for loads and feeds
-- column: mismatched count accounts in which a figure differs; null as checked is
-- note: age_seconds: from the block's time (snapshot), from storing (load), from the end of the last span (feed)
SELECT 'snapshot' AS kind, market AS name, block_time AS time,
       date_diff('second', block_time, now()) AS age_seconds,
       CASE WHEN provenance = 'imported' THEN 'imported' ELSE 'block ' || block_number END AS detail, accounts AS rows,
       accounts_failed AS failed, checked, mismatched
FROM snapshots_at()
UNION ALL
SELECT 'load', source || CASE WHEN target = '' THEN '' ELSE ' ' || target END, max(stored_at),
       date_diff('second', max(stored_at), now()),
       CAST(sum(coalesce(merged, 1)) AS BIGINT) || ' loads', CAST(sum(rows) AS BIGINT),
       (SELECT count(*) FROM rejects AS r WHERE r.source = loads.source AND r.target = loads.target),
       NULL, NULL
FROM loads
GROUP BY source, target
UNION ALL
SELECT 'feed', source, max(to_time), date_diff('second', max(to_time), now()),
       arg_max(state || CASE WHEN reason = '' THEN '' ELSE ' (' || reason || ')' END, to_time),
       CAST(sum(rows) AS BIGINT), CAST(sum(rejects) AS BIGINT), NULL, NULL
FROM coverage
GROUP BY source
ORDER BY 1 DESC, 2
