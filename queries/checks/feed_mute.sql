-- name: feed_mute
-- title: Spans in which a feed was up and sent no liquidation, although its history has some
-- columns of: coverage source run from_time to_time
-- column: missing count liquidations that the history has of the span
-- column: at_least_usd usd-at-least their value, a lower bound; null where none is known
-- note: a topic that is acknowledged may stay mute; liquidations of the history count in its place
-- note: of the last 7 days of each feed; a liquidation within 5 s of a span is taken for one of it
WITH newest AS (
  SELECT source, max(to_time) AS until FROM coverage GROUP BY source
), past AS (
  SELECT source, time, notional_usd FROM exchange_liquidations
  WHERE delivery = 'history' AND kind IN ('order', 'fill')
), mute AS (
  SELECT c.source, c.run, c.from_time, c.to_time
  FROM coverage AS c
  JOIN newest AS n ON n.source = c.source
  WHERE c.state IN ('up', 'partial') AND c.to_time > n.until - INTERVAL 7 DAY
    AND c.source || '-history' IN (SELECT source FROM past)
    AND NOT EXISTS (
      FROM exchange_liquidations AS l
      WHERE l.source = c.source AND l.delivery <> 'history' AND l.kind IN ('order', 'fill', 'partial')
        AND l.time >= c.from_time - INTERVAL 5 SECOND AND l.time < c.to_time + INTERVAL 5 SECOND)
)
SELECT m.source, m.run, m.from_time, m.to_time, count(*) AS missing,
       sum(p.notional_usd) FILTER (abs(p.notional_usd) <= 1e18) AS at_least_usd
FROM mute AS m
JOIN past AS p ON p.source = m.source || '-history' AND p.time >= m.from_time AND p.time < m.to_time
GROUP BY m.source, m.run, m.from_time, m.to_time
ORDER BY m.source, m.from_time
