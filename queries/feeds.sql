-- name: feeds
-- title: Coverage of each exchange feed in a time range, and its state at the end
-- param: p_since TIMESTAMPTZ = NULL  start; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  end, exclusive; null: the newest row stored
-- param: p_venue TEXT = 'all'  one venue, or all
-- columns of: coverage source venue market
-- column: covered_share coverage share of the time range in which the feed was up, times the share of contracts subscribed to
-- column: stale_share share share of the time range in which the feed was connected, without a liquidation for longer than is plausible
-- column: rejecting_share share share of the time range in which its messages could not be parsed
-- column: rejecting_reason text why messages could not be parsed, in the last such span; null without any
-- column: covered_seconds seconds covered part of the time range
-- column: rejecting_seconds seconds part of the time range in which its messages could not be parsed
-- column: window_seconds seconds length of the time range
-- column: gaps count spans of the time range in which it was down or off
-- column: state text state at the end: up, partial, stale, rejecting, down or off
-- column: reason text why it is in that state, and whether it was rejecting before; may be empty
-- column: silence_seconds seconds from the newest liquidation to the end of the time range; null without any
-- column: frames count frames received in the spans that overlap the time range
-- column: rows count liquidations in the time range
-- column: duplicates count liquidations in these spans that were received before
-- column: rejects count frames or rows in these spans that cannot be parsed
-- column: subscribed count contracts subscribed to when it was last connected; null if not counted
-- column: listed count contracts that the venue lists; null if not stated
-- columns of: coverage sampling_class sampling_rule
-- column: sampling text class and rule in one line
-- column: last_event time newest liquidation before the end of the time range; null without any
-- column: coverage_until time end of the newest span
-- column: clipped flag a span reaches beyond the time range: its frames, duplicates and rejects count as a whole
-- columns of: coverage provenance
-- show: source covered_share=covered state reason silence_seconds=quiet_for frames rows duplicates rejects subscribed listed sampling
-- note: covered: share of the time in which a feed was up, times the share of contracts subscribed to
-- note: stale is not covered: connected, without a liquidation for longer than is plausible
-- note: rejecting is not covered: frames cannot be parsed; histories count for that time
-- note: rows: liquidations in the time range; frames, duplicates and rejects: of all spans that overlap it
-- note: silent for: from the newest liquidation to the end of the time range
WITH bounds AS (
  SELECT since, until FROM liquidation_window(p_since := $p_since, p_until := $p_until)
), span AS (
  SELECT c.*, b.until AS window_end, epoch(b.until - b.since) AS window_seconds,
         epoch(least(c.to_time, b.until) - greatest(c.from_time, b.since)) AS seconds,
         c.from_time < b.until AND c.to_time > b.since AS inside,
         c.from_time < b.since OR c.to_time > b.until AS reaches_beyond
  FROM coverage AS c, bounds AS b
  WHERE c.from_time < b.until AND ($p_venue = 'all' OR c.venue = $p_venue)
), summed AS (
  SELECT source, venue, market, max(provenance) AS provenance,
         max(window_end) AS window_end, max(window_seconds) AS window_seconds,
         coalesce(sum(CASE WHEN inside AND state IN ('up', 'partial') THEN seconds *
               CASE WHEN subscribed IS NULL OR coalesce(listed, 0) = 0 THEN 1e0
                    ELSE least(1e0, subscribed / listed) END END), 0e0) AS covered_seconds,
         coalesce(sum(CASE WHEN inside AND state = 'stale' THEN seconds END), 0e0)
           AS stale_seconds,
         coalesce(sum(CASE WHEN inside AND state = 'rejecting' THEN seconds END), 0e0)
           AS rejecting_seconds,
         arg_max(reason, CASE WHEN inside AND state = 'rejecting' THEN to_time END)
           AS rejecting_reason,
         count(*) FILTER (inside AND state IN ('down', 'off')) AS gaps,
         coalesce(sum(frames) FILTER (inside), 0)::BIGINT AS frames,
         coalesce(sum(duplicates) FILTER (inside), 0)::BIGINT AS duplicates,
         coalesce(sum(rejects) FILTER (inside), 0)::BIGINT AS rejects,
         coalesce(bool_or(reaches_beyond) FILTER (inside), false) AS clipped,
         arg_max(state, to_time) AS last_state, arg_max(reason, to_time) AS last_reason,
         arg_max(subscribed, CASE WHEN state IN ('up', 'partial', 'stale', 'rejecting') THEN to_time END)
           AS subscribed,
         arg_max(listed, to_time) AS listed,
         arg_max(sampling_class, to_time) AS sampling_class,
         arg_max(sampling_rule, to_time) AS sampling_rule,
         max(to_time) AS coverage_until
  FROM span GROUP BY source, venue, market
), newest AS (
  SELECT l.source, max(l.time) AS last_event,
         count(*) FILTER (l.time >= b.since AND l.kind IN ('order', 'fill')) AS rows
  FROM exchange_liquidations AS l, bounds AS b
  WHERE l.time < b.until GROUP BY l.source
)
SELECT s.source, s.venue, s.market, s.covered_seconds / nullif(s.window_seconds, 0) AS covered_share,
       s.stale_seconds / nullif(s.window_seconds, 0) AS stale_share,
       s.rejecting_seconds / nullif(s.window_seconds, 0) AS rejecting_share, s.rejecting_reason,
       s.covered_seconds, s.rejecting_seconds, s.window_seconds, s.gaps,
       s.last_state AS state,
       CASE WHEN s.rejecting_seconds > 0 AND s.last_state <> 'rejecting'
            THEN concat_ws('; ', nullif(s.last_reason, ''), 'REJECTING for a while: ' || s.rejecting_reason)
            ELSE s.last_reason END AS reason,
       CAST(epoch(s.window_end - n.last_event) AS BIGINT) AS silence_seconds,
       s.frames, coalesce(n.rows, 0) AS rows, s.duplicates, s.rejects, s.subscribed, s.listed,
       s.sampling_class, s.sampling_rule, s.sampling_class || ': ' || s.sampling_rule AS sampling,
       n.last_event, s.coverage_until, s.clipped, s.provenance
FROM summed AS s LEFT JOIN newest AS n ON n.source = s.source
ORDER BY s.source
