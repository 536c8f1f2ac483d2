-- name: coverage_overlaps
-- title: Spans of a feed's coverage that overlap or end before they begin
-- columns of: coverage source run from_time to_time
-- column: before time latest end of the spans that began earlier; null for the first
SELECT source, run, from_time, to_time, before
FROM (
  SELECT source, run, from_time, to_time,
         max(to_time) OVER (PARTITION BY source ORDER BY from_time, to_time
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
  FROM coverage
) AS spans
WHERE to_time <= from_time OR before > from_time
