-- name: crashes
-- title: Five crashes side by side
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: metric text what is measured
-- column: e20200312 text figure of the crash of 2020-03-12 as people read it, or n/a with the reason
-- column: e20210519 text figure of the crash of 2021-05-19 as people read it, or n/a with the reason
-- column: e20251010 text figure of the crash of 2025-10-10 as people read it, or n/a with the reason
-- column: e20260129 text figure of the crash of 2026-01-29 as people read it, or n/a with the reason
-- column: e20260205 text figure of the crash of 2026-02-05 as people read it, or n/a with the reason
-- column: source list sources of the figures of the row; null without any
-- column: origin list source, or SAMPLE where one figure is invented
-- column: provenance text where they come from; sample where one of them is
-- show: metric e20200312=2020-03-12 e20210519=2021-05-19 e20251010=2025-10-10 e20260129=2026-01-29 e20260205=2026-02-05 origin=source
-- note: each figure is of the day in its heading, except window, next day and reserve; `crashes --json` gives day, source and age of each
-- note: n/a (none): nothing is stored for that day, or nothing was published by then; n/a (hours): no hourly candles
-- note: the reserve is the newest one that was published by the end of the window
-- note: window: 2020-03-12 two days, 2021-05-19 one day, 2025-10-10 21:00-24:00, 2026-01-29 three days, 2026-02-05 two days (UTC), from its first price to its lowest
-- note: liquidations on exchanges and on chain are never added up; both are lower bounds
WITH figure AS (
  SELECT * REPLACE (CASE WHEN value IS NOT NULL THEN figure
                         WHEN figure LIKE '%hourly%' THEN 'n/a (hours)' ELSE 'n/a (none)' END AS figure)
  FROM crash_figures(p_known_at := $p_known_at)
  UNION ALL BY NAME
  SELECT event, 'days ago' AS metric, 0 AS position,
         format('{:,}', date_diff('day', as_of, CAST(coalesce($p_known_at, now()) AS DATE))) AS figure
  FROM crash_events()
)
SELECT metric,
       coalesce(max(figure) FILTER (event = '2020-03-12'), 'n/a') AS e20200312,
       coalesce(max(figure) FILTER (event = '2021-05-19'), 'n/a') AS e20210519,
       coalesce(max(figure) FILTER (event = '2025-10-10'), 'n/a') AS e20251010,
       coalesce(max(figure) FILTER (event = '2026-01-29'), 'n/a') AS e20260129,
       coalesce(max(figure) FILTER (event = '2026-02-05'), 'n/a') AS e20260205,
       string_agg(DISTINCT source, ', ' ORDER BY source) AS source,
       CASE WHEN bool_or(provenance = 'sample') THEN 'SAMPLE' ELSE string_agg(DISTINCT source, ', ' ORDER BY source) END AS origin,
       CASE WHEN bool_or(provenance = 'sample') THEN 'sample' ELSE max(provenance) END AS provenance
FROM figure
GROUP BY metric, position
ORDER BY position
