-- name: liquidations
-- title: Liquidations on exchanges and on chain: lower bounds, with coverage
-- needs: feeds(p_since, p_until, p_venue)
-- param: p_by TEXT = 'venue'  minute, hour, venue, symbol, contract or side
-- param: p_since TIMESTAMPTZ = NULL  start; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  end, exclusive; null: the newest row stored
-- param: p_venue TEXT = 'all'  one venue or protocol, or all
-- param: p_symbol TEXT = 'all'  one coin or collateral, or all
-- param: p_side TEXT = 'all'  long, short, or all
-- param: p_min_usd DOUBLE = 0  ignore liquidations of less, USD; above 0 also those without a value
-- column: origin text exchange or chain
-- column: bucket text venue or protocol, minute or hour, coin or collateral, contract with its venue, or side, as p_by says
-- column: orders count liquidations
-- column: at_least_usd usd-at-least their value, a lower bound; 0 where a feed was up and saw none; null where not known
-- column: at_least_long_usd usd-at-least value of the long positions among them, a lower bound
-- column: at_least_short_usd usd-at-least value of the short positions among them, a lower bound
-- column: largest_usd usd the largest of them; null where none has a value
-- column: unpriced count liquidations without a known value in USD; they are in no sum
-- column: covered_share coverage share of the time in which the feeds of the row were up; null on chain
-- column: sampling text what the venues publish, with the rules of the time range, or not collected
-- column: at_least_exchange_usd usd-at-least sum of all rows of exchanges, the same in each row; null without any
-- column: at_least_chain_usd usd-at-least sum of all rows on chain, the same in each row; null without any
-- column: counted text which liquidations the rows count: all, or only of a coin, a side or a value
-- show: origin bucket=by orders at_least_usd=USD at_least_long_usd=long_USD at_least_short_usd=short_USD largest_usd=largest_USD unpriced covered_share=covered sampling
-- bar: at_least_usd
-- note: ≥: every sum is a lower bound, as venues publish samples and feeds have gaps; n/a: not collected, or no value known
-- note: covered: share of the time in which the feeds of a row were up; on chain n/a, `chainwatch checks` finds blocks that were not read
-- note: exchanges: at order, bankruptcy or fill prices, a dollar stablecoin at 1 USD; chain: seized collateral at oracle prices
-- note: unpriced: liquidations without a known value in USD; they are in no sum
-- note: {counted}: exchanges {at_least_exchange_usd} USD, chain {at_least_chain_usd} USD
WITH bounds AS (
  SELECT since, until FROM liquidation_window(p_since := $p_since, p_until := $p_until)
), event AS (
  SELECT origin, usd, side,
         CASE WHEN $p_by IN ('minute', 'hour')
              THEN strftime(date_trunc(CASE $p_by WHEN 'minute' THEN 'minute' ELSE 'hour' END, time),
                            '%Y-%m-%d %H:%MZ')
              ELSE CASE $p_by WHEN 'symbol' THEN asset WHEN 'contract' THEN venue || ' ' || symbol
                    WHEN 'side' THEN side ELSE venue END END AS bucket
  FROM liquidation_events(p_since := $p_since, p_until := $p_until)
  WHERE ($p_venue = 'all' OR venue = $p_venue) AND ($p_symbol = 'all' OR lower(asset) = lower($p_symbol)) AND ($p_side = 'all' OR side = $p_side)
    AND ($p_min_usd <= 0e0 OR usd >= $p_min_usd)
), summed AS (
  SELECT origin, bucket, count(*) AS orders, count(*) FILTER (side = 'long') AS longs,
         count(*) FILTER (side = 'short') AS shorts,
         sum(CASE WHEN side = 'long' THEN usd END) AS long_usd,
         sum(CASE WHEN side = 'short' THEN usd END) AS short_usd,
         sum(usd) AS usd, max(usd) AS largest_usd,
         count(*) FILTER (usd IS NULL) AS unpriced
  FROM event GROUP BY origin, bucket
), span AS (
  SELECT c.source, c.venue, {'class': c.sampling_class, 'rule': c.sampling_rule} AS sampling,
         greatest(c.from_time, b.since) AS begun, least(c.to_time, b.until) AS ended,
         CASE WHEN c.state NOT IN ('up', 'partial') THEN 0e0
              WHEN c.subscribed IS NULL OR coalesce(c.listed, 0) = 0 THEN 1e0
              ELSE least(1e0, c.subscribed / c.listed) END AS weight
  FROM coverage AS c, bounds AS b
  WHERE c.from_time < b.until AND c.to_time > b.since
    AND ($p_venue = 'all' OR c.venue = $p_venue)
), slice AS (
  SELECT unnest(generate_series(date_trunc(CASE $p_by WHEN 'minute' THEN 'minute' ELSE 'hour' END, since),
                                until - INTERVAL 1 MICROSECOND, width)) AS begins, width, since, until
  FROM bounds, (SELECT CASE $p_by WHEN 'minute' THEN INTERVAL 1 MINUTE ELSE INTERVAL 1 HOUR END AS width) AS sized
  WHERE $p_by IN ('minute', 'hour')
), piece AS (
  -- the parts of each span that lie in one bucket, and the length of that bucket
  SELECT CASE WHEN $p_by IN ('venue', 'contract') THEN w.venue ELSE 'all' END AS bucket, w.source, w.sampling,
         w.weight * epoch(w.ended - w.begun) AS seconds, epoch(b.until - b.since) AS lasts
  FROM span AS w, bounds AS b WHERE $p_by NOT IN ('minute', 'hour')
  UNION ALL
  SELECT strftime(s.begins, '%Y-%m-%d %H:%MZ'), w.source, w.sampling,
         w.weight * epoch(least(w.ended, s.begins + s.width) - greatest(w.begun, s.begins)),
         epoch(least(s.until, s.begins + s.width) - greatest(s.since, s.begins))
  FROM slice AS s
  JOIN span AS w ON w.begun < s.begins + s.width AND w.ended > s.begins
), per_source AS (
  SELECT bucket, source, sum(seconds) / nullif(max(lasts), 0) AS share, max(sampling) AS sampling
  FROM piece GROUP BY bucket, source
), several AS (
  -- a minute or an hour without any span of a feed counts as not covered
  SELECT count(DISTINCT source) AS feeds FROM span WHERE $p_by IN ('minute', 'hour')
), feed AS (
  SELECT bucket, sum(share) / greatest(count(*), (SELECT feeds FROM several)) AS covered_share,
         CASE WHEN count(DISTINCT sampling) = 1 THEN max(sampling.class || ': ' || sampling.rule)
              ELSE string_agg(DISTINCT sampling.class, ', ') END AS sampling
  FROM per_source GROUP BY bucket
), market_era AS (
  SELECT e.venue, e.market, count(DISTINCT (e.sampling_class, e.sampling_rule)) AS several,
         string_agg(e.sampling_class || ': ' || e.sampling_rule || CASE WHEN e.to_time < b.until
                                   THEN ' until ' || strftime(e.to_time, '%Y-%m-%d') ELSE '' END,
                    ', then ' ORDER BY e.from_time) AS rules
  FROM sampling_eras AS e, bounds AS b
  WHERE e.from_time < b.until AND (e.to_time IS NULL OR e.to_time > b.since)
    AND $p_by IN ('venue', 'contract')
  GROUP BY e.venue, e.market
), era AS (
  SELECT venue, string_agg(CASE WHEN market = 'all' THEN '' ELSE market || ': ' END || rules,
                           '; ' ORDER BY market DESC) AS rules
  FROM market_era GROUP BY venue HAVING max(several) > 1
), groups AS (
  SELECT origin, bucket FROM summed
  UNION
  SELECT 'exchange', bucket FROM feed WHERE $p_by = 'venue'
  UNION
  SELECT o.origin, strftime(begins, '%Y-%m-%d %H:%MZ')
  FROM slice, (SELECT DISTINCT origin FROM summed
              UNION SELECT 'exchange' FROM span) AS o
  UNION
  SELECT 'exchange', side FROM (SELECT unnest(['long', 'short']) AS side FROM (SELECT 1 FROM span LIMIT 1)) AS sides
  WHERE $p_by = 'side' AND $p_side IN ('all', side)
)
SELECT g.origin, g.bucket, coalesce(s.orders, 0) AS orders,
       -- The sum of known orders may be unknown; where none was published, it is at least 0.
       CASE WHEN s.orders > 0 THEN s.usd WHEN f.covered_share > 0 THEN 0e0 END AS at_least_usd,
       CASE WHEN $p_side = 'short' THEN NULL
            WHEN s.longs > 0 THEN s.long_usd
            WHEN s.orders > 0 OR f.covered_share > 0 THEN 0e0 END AS at_least_long_usd,
       CASE WHEN $p_side = 'long' THEN NULL
            WHEN s.shorts > 0 THEN s.short_usd
            WHEN s.orders > 0 OR f.covered_share > 0 THEN 0e0 END AS at_least_short_usd,
       s.largest_usd, coalesce(s.unpriced, 0) AS unpriced,
       CASE WHEN g.origin = 'exchange' THEN coalesce(f.covered_share, 0e0) END AS covered_share,
       CASE WHEN g.origin = 'exchange' THEN coalesce(a.rules, f.sampling, 'not collected')
            ELSE 'full: events of the chain' END AS sampling,
       sum(s.usd) FILTER (g.origin = 'exchange') OVER () AS at_least_exchange_usd,
       sum(s.usd) FILTER (g.origin = 'chain') OVER () AS at_least_chain_usd,
       coalesce('only ' || nullif(concat_ws(', ', CASE WHEN $p_symbol <> 'all' THEN 'of ' || $p_symbol END,
                                            CASE WHEN $p_side <> 'all' THEN 'of ' || $p_side || ' positions' END,
                                            CASE WHEN $p_min_usd > 0e0 THEN 'of ' || format('{:,.2f}', $p_min_usd) || ' USD or more' END),
                                  ''), 'all') AS counted
FROM groups AS g
LEFT JOIN summed AS s ON s.origin = g.origin AND s.bucket = g.bucket
LEFT JOIN feed AS f ON g.origin = 'exchange'
  AND f.bucket = CASE WHEN $p_by IN ('symbol', 'side') THEN 'all'
                      WHEN $p_by = 'contract' THEN split_part(g.bucket, ' ', 1) ELSE g.bucket END
LEFT JOIN era AS a ON g.origin = 'exchange' AND a.venue = split_part(g.bucket, ' ', 1)
ORDER BY CASE WHEN $p_by IN ('minute', 'hour') THEN g.bucket END, g.origin DESC, at_least_usd DESC NULLS LAST, g.bucket
