-- name: exchange_sums
-- title: Liquidations that exchanges published in each crash's window: a lower bound, with coverage
-- columns of: crash_events() event
-- column: usd usd orders published in the window, a lower bound; 0 where a feed was up and saw none, else null
-- column: coverage_share share mean share of the window in which the collected feeds were up; null without any
-- column: orders count orders published in the window; null without any
-- column: venues list venues that they are of; null without any
-- column: state text ≥ with venues and coverage, or n/a with the reason
-- note: covered: mean share of the window in which the collected feeds were up, without feeds of a demo
WITH reported AS (
  SELECT e.event, sum(l.notional_usd) FILTER (abs(l.notional_usd) <= 1e18) AS usd, count(*) AS orders, count(DISTINCT l.venue) AS venues,
         string_agg(DISTINCT l.venue, ', ' ORDER BY l.venue) AS names
  FROM crash_events() AS e
  JOIN counted_liquidations() AS l ON l.time >= e.window_from AND l.time < e.window_to
  WHERE l.provenance <> 'demo'
  GROUP BY e.event
), feed AS (
  SELECT e.event, c.source,
         sum(CASE WHEN c.state NOT IN ('up', 'partial') THEN 0e0
                  WHEN c.subscribed IS NULL OR coalesce(c.listed, 0) = 0 THEN 1e0
                  ELSE least(1e0, c.subscribed / c.listed) END
             * epoch(least(c.to_time, e.window_to) - greatest(c.from_time, e.window_from)))
           / any_value(epoch(e.window_to - e.window_from)) AS part
  FROM crash_events() AS e
  JOIN coverage AS c ON c.from_time < e.window_to AND c.to_time > e.window_from
  WHERE c.provenance <> 'demo'
  GROUP BY e.event, c.source
), covered AS (
  SELECT event, avg(part) AS part, count(*) AS feeds FROM feed GROUP BY event
)
SELECT e.event,
       CASE WHEN r.usd IS NOT NULL THEN r.usd WHEN w.part > 0 AND r.orders IS NULL THEN 0e0 END AS usd,
       w.part AS coverage_share, r.orders, r.names AS venues,
       CASE WHEN r.orders IS NULL AND coalesce(w.part, 0) = 0 THEN 'n/a (not collected)'
            WHEN r.usd IS NULL AND r.orders > 0 THEN 'n/a (' || r.orders || ' orders without a value in USD)'
            ELSE '≥, ' || coalesce(r.venues, 0) || ' venue(s), '
                 || CASE WHEN w.part IS NULL THEN 'coverage not known'
                         ELSE printf('%.1f %% of the window covered', 100 * w.part) END END AS state
FROM crash_events() AS e
LEFT JOIN reported AS r ON r.event = e.event
LEFT JOIN covered AS w ON w.event = e.event
