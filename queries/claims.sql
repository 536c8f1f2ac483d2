-- name: claims
-- title: What four articles of early 2026 say, against stored data
-- param: p_article TEXT = 'all'  A, B, C or D, or all
-- param: p_known_at TIMESTAMPTZ = NULL  only what was known then; null: everything
-- show: articles=in claim verdict finding as_of age_seconds=age origin=source
-- note: claims are quoted in short and never enter the tables of observations; causes, forecasts and figures of companies are not checkable here
-- note: figures marked sample are invented and decide nothing
-- note: a finding that names no source is the claim's own arithmetic
WITH claim(n, articles, claim, rule, lacking) AS (VALUES
  (1, 'A B', '12 March 2020: BTC fell more than 50 % within 24 hours', 'deepest fall from a high to the low of the same or the next day', 'no daily candles of March 2020'),
  (2, 'B', 'May 2021: BTC from 58,000 down over 10,000 USD in 24 hours', 'the high of 19 May 2021 is within 2 % of 58,000', 'no daily candles of May 2021'),
  (3, 'B', 'May 2021: liquidations above 5.87 bn USD', 'sum of exchange liquidations', 'no exchange feed of 2021 is stored'),
  (4, 'A B', 'BTC below 75,000 recently', 'a daily low under 75,000 from 2026-01-01 to 2026-02-10', 'no daily candles of early 2026'),
  (5, 'C', '29 January 2026: BTC broke 88,000', 'the low of the day is under 88,000', 'no daily candles of January 2026'),
  (6, 'C', 'the break of 88,000 was a first', 'no daily low under 88,000 earlier in January 2026', 'no daily candles of January 2026'),
  (7, 'C', 'the Tether news set off the break of 88,000', 'none: a cause', 'a cause cannot be read off prices'),
  (8, 'C', '1 bn USD liquidated on Aave and Compound', 'seized on chain from 29 to 31 January, as far as stored', 'no on-chain liquidations of that window are stored'),
  (9, 'C', 'Tether moves reserves into physical gold', 'gold share of 2025-12-31 above that of 2025-09-30', 'no reserve report of 2025-12-31 is stored'),
  (10, 'C', 'Tether thereby lowers its digital assets', 'fewer bitcoin on 2025-12-31 than on 2025-09-30', 'no bitcoin price is stated in the reports stored'),
  (11, 'C', 'VIX: volatility keeps rising (late January)', 'VIX of 29 January above that of five sessions before', 'VIX of January 2026 is not stored'),
  (12, 'C', 'BTC MVRV near 1.0', 'MVRV of 29 January within 10 % of 1.0', 'MVRV of January 2026 is not stored'),
  (13, 'C', 'the dollar is being pushed up', 'ICE dollar index of 29 January above that of 20 sessions before', 'the ICE dollar index is not stored (import dxy)'),
  (14, 'A B', 'the dollar is near a two-year low', 'lowest close of January 2026 within 1 % of the lowest of two years', 'the ICE dollar index is not stored (import dxy)'),
  (15, 'C', 'Microsoft spent 37.5 bn USD in a quarter', 'none', 'company filings are not collected'),
  (16, 'A B', 'this fall is of the kind of March 2020', 'highest VIX z-score of 29 January to 6 February at least 3', 'VIX of early 2026 is not stored'),
  (17, 'B', 'SOFR is over 14 bp above IORB, most since 2020', 'highest SOFR - IORB from 2026-01-20 to 2026-02-13', 'SOFR and IORB of early 2026 are not stored'),
  (18, 'B', 'MAGS from 66 to 63.58 is nearly 4 %', '63.58 / 66 - 1 between -3.5 % and -4 %', ''),
  (19, 'B', 'mortgage rates may go to 7 to 8 %', 'none: a forecast', 'a forecast'),
  (20, 'D', '6 February 2026: BTC touched 60,000', 'the low of the day is under 60,500', 'no daily candles of February 2026'),
  (21, 'D', '6 February 2026: BTC fell 16 % in 24 hours', 'between the falls close to close and high to low within 24 hours', 'no hourly candles of February 2026'),
  (22, 'D', 'BTC is 50 % below its high', 'low of 6 February against the highest price before', 'no daily candles of 2025 and 2026'),
  (23, 'D', 'BTC stood at 126,000 in October 2025', 'highest price of October 2025 within 1 % of 126,000', 'no daily candles of October 2025'),
  (24, 'D', '580,000 accounts lost 2.6 bn USD', 'sum of exchange liquidations', 'no exchange feed of that day is stored'),
  (25, 'D', '6 February 2026: Nasdaq down 1.5 %', 'move of that day within 0.5 points', 'the Nasdaq of February 2026 is not stored'),
  (26, 'D', '6 February 2026: silver down 17 %', 'move of that day within 2 points', 'silver of February 2026 is not stored (import silver)'),
  (27, 'D', '30 January 2026: silver down 31.4 %', 'move of that day within 2 points', 'silver of January 2026 is not stored (import silver)'),
  (28, 'D', 'the same fall of silver: 31.4 %, and from 121 to 78', '78 / 121 - 1 equals -31.4 %', ''),
  (29, 'D', 'silver rose 68 % within January', 'from the last close of 2025 to the highest close of January, within 5 points', 'silver of January 2026 is not stored (import silver)'),
  (30, 'D', 'silver then fell 50 % in three days', 'from the highest close of January to the lowest of the next three sessions at least 45 %', 'silver of February 2026 is not stored (import silver)'),
  (31, 'D', '30 January 2026: the dollar up 0.8 %', 'move of that day within 0.2 points', 'the ICE dollar index is not stored (import dxy)'),
  (32, 'A B D', 'Warsh is nominated as chair (D), as vice chair (A, B)', 'none', 'nominations are not collected; the texts contradict each other'),
  (33, 'D', 'CME margins: silver 11 to 15 %, gold 6 to 8 %', 'none', 'exchange notices are not collected'),
  (34, 'D', 'Alphabet: 175 to 185 bn a year is 5 bn a day', '185 / 365 is 5', ''),
  (35, 'D', 'AMD guides 9.8 bn against 9.37 bn expected: 2 % short', '9.8 / 9.37 is below 1', ''),
  (36, 'D', '744,000 BTC bought is 4.6 times the new supply of 160,000', '744 / 160 is 4.6 to one decimal', ''),
  (37, 'D', '20 January 2026: 40-year Japanese yield above 4 %', 'yield of that day', 'Japanese yields of January 2026 are not stored')
), daily AS (
  SELECT *, CAST(time AS DATE) AS as_of FROM candles_at(p_asset := 'BTC', p_interval := '1d', p_known_at := $p_known_at)
), pair AS (
  SELECT *, lead(low) OVER (ORDER BY time) AS low_after, lead(time) OVER (ORDER BY time) AS time_after,
         lag(close) OVER (ORDER BY time) AS close_before FROM daily
), hourly AS (
  SELECT *, close / lag(close, 24) OVER (ORDER BY time) - 1 AS closes,
         low / max(high) OVER (ORDER BY time ROWS BETWEEN 23 PRECEDING AND CURRENT ROW) - 1 AS highs,
         lag(time, 24) OVER (ORDER BY time) = time - INTERVAL 24 HOUR AS whole
  FROM candles_at(p_asset := 'BTC', p_interval := '1h', p_known_at := $p_known_at)
), mark AS (
  SELECT any_value(source) AS source, CASE WHEN bool_or(provenance = 'sample') THEN 'sample' ELSE any_value(provenance) END AS provenance,
         max(observed_at) AS observed_at FROM daily
), series_day AS (
  SELECT *, value / lag(value) OVER (PARTITION BY series ORDER BY as_of) - 1 AS move,
         lag(value, 5) OVER (PARTITION BY series ORDER BY as_of) AS five_before,
         lag(value, 20) OVER (PARTITION BY series ORDER BY as_of) AS twenty_before
  FROM indicators_at(p_known_at := $p_known_at)
  WHERE series IN ('vix', 'btc_mvrv', 'dxy', 'nasdaq', 'silver', 'jgb40')
), vix AS (
  SELECT * FROM vix_days(p_known_at := $p_known_at)
), spread AS (
  SELECT * FROM spread_days(p_known_at := $p_known_at)
), held AS (
  SELECT s.as_of, s.source, s.provenance, s.observed_at, i.asset_class,
         sum(CAST(i.usd AS DOUBLE)) / CAST(any_value(s.assets) AS DOUBLE) AS part,
         sum(CAST(i.usd AS DOUBLE)) AS usd, CASE WHEN count(i.quantity) = count(*) THEN sum(CAST(i.quantity AS DOUBLE)) END AS quantity
  FROM statements_at(p_token := 'USDT', p_known_at := $p_known_at) AS s
  JOIN reserve_items AS i ON i.statement = s.statement
  WHERE s.kind = 'quarterly report' AND i.asset_class IN ('precious metals', 'bitcoin')
  GROUP BY ALL
), report AS (
  SELECT now.asset_class, now.as_of, now.source, now.provenance, now.observed_at, now.part, old.part AS old_part,
         now.usd, old.usd AS old_usd, now.quantity, old.quantity AS old_quantity
  FROM held AS now JOIN held AS old ON old.asset_class = now.asset_class
   AND now.as_of = DATE '2025-12-31' AND old.as_of = DATE '2025-09-30'
), silver AS (
  SELECT min(value) FILTER (as_of > peak_as_of AND after <= 3) AS low, any_value(peak) AS peak,
         any_value(peak_as_of) AS peak_as_of, max(value) FILTER (as_of = last_2025) AS base,
         any_value(source) AS source, any_value(provenance) AS provenance, max(observed_at) AS observed_at
  FROM (
    SELECT *, count(*) FILTER (as_of > peak_as_of) OVER (ORDER BY as_of) AS after
    FROM (SELECT *, max(value) FILTER (as_of BETWEEN '2026-01-01' AND '2026-01-31') OVER () AS peak,
                 arg_max(as_of, value) FILTER (as_of BETWEEN '2026-01-01' AND '2026-01-31') OVER () AS peak_as_of,
                 max(as_of) FILTER (as_of < '2026-01-01') OVER () AS last_2025
          FROM series_day WHERE series = 'silver') AS marked
  ) AS counted
  HAVING any_value(peak) IS NOT NULL
), fact(n, holds, value, finding, as_of, source, provenance, observed_at) AS (
  SELECT 1, least(low / high, low_after / high) - 1 < -0.5, least(low / high, low_after / high) - 1,
         format('{:+.1f} % close to close; high {:,.0f} to low {:,.0f} of the next day: {:+.1f} % within up to 48 hours', 100 * (close / close_before - 1), high, low_after, 100 * (low_after / high - 1)),
         as_of, source, provenance, observed_at FROM pair WHERE as_of = '2020-03-12' AND time_after = time + INTERVAL 1 DAY
  UNION ALL
  SELECT 2, a.high BETWEEN 0.98 * 58000 AND 1.02 * 58000, a.high - a.low,
         format('19 May: high {:,.0f}, low {:,.0f} (-{:,.0f} USD); 12 May: high {:,.0f}, low of the next day {:,.0f}', a.high, a.low, a.high - a.low, b.high, b.low_after),
         a.as_of, a.source, a.provenance, a.observed_at FROM pair AS a, pair AS b WHERE a.as_of = '2021-05-19' AND b.as_of = '2021-05-12'
  UNION ALL
  SELECT CASE event WHEN '2021-05-19' THEN 3 ELSE 24 END,
         CASE WHEN usd >= CASE event WHEN '2021-05-19' THEN 5.87e9 ELSE 2.6e9 END THEN true END, usd,
         format('at least {:,.0f} USD on {}', usd, venues), CAST(event AS DATE), 'exchanges', NULL, NULL
  FROM exchange_sums() WHERE event IN ('2021-05-19', '2026-02-05') AND orders > 0 AND usd IS NOT NULL
  UNION ALL
  SELECT 4, min(low) < 75000, min(low), CASE WHEN min(low) < 75000 THEN format('first on {}: {:,.0f}', CAST(min(as_of) FILTER (low < 75000) AS VARCHAR), arg_min(low, as_of) FILTER (low < 75000))
                                             ELSE format('lowest: {:,.0f}', min(low)) END,
         coalesce(min(as_of) FILTER (low < 75000), max(as_of)), any_value(source), any_value(provenance), max(observed_at)
  FROM daily WHERE as_of BETWEEN '2026-01-01' AND '2026-02-10' HAVING count(*) = 41
  UNION ALL
  SELECT 5, low < 88000, low, format('low {:,.0f}, close {:,.0f}', low, close), as_of, source, provenance, observed_at FROM daily WHERE as_of = '2026-01-29'
  UNION ALL
  SELECT 6, count(*) FILTER (low < 88000) = 0, CAST(count(*) FILTER (low < 88000) AS DOUBLE),
         coalesce('lows under it on ' || string_agg(strftime(as_of, '%d'), ', ' ORDER BY as_of) FILTER (low < 88000) || ' January', 'no low under it'),
         max(as_of), any_value(source), any_value(provenance), max(observed_at)
  FROM daily WHERE as_of BETWEEN '2026-01-02' AND '2026-01-28' HAVING count(*) = 27
  UNION ALL
  SELECT 8, CASE WHEN usd >= 1e9 THEN true END, usd, format('at least {:,.0f} USD in {:,} events of {}', usd, events, markets), DATE '2026-01-29', 'chain', NULL, NULL
  FROM chain_sums() WHERE event = '2026-01-29' AND events > 0
  UNION ALL
  SELECT 9, part > old_part, part, format('gold {:,.2f} % of the reserve, {:,.2f} % a quarter before ({:+.2f} bn USD)', 100 * part, 100 * old_part, (usd - old_usd) / 1e9), as_of, source, provenance, observed_at
  FROM report WHERE asset_class = 'precious metals'
  UNION ALL
  SELECT 10, quantity < old_quantity, quantity, format('{:,.0f} BTC, {:,.0f} a quarter before; in USD {:+.2f} bn, by price alone', quantity, old_quantity, (usd - old_usd) / 1e9), as_of, source, provenance, observed_at
  FROM report WHERE asset_class = 'bitcoin' AND quantity IS NOT NULL AND old_quantity IS NOT NULL
  UNION ALL
  SELECT 11, s.value > s.five_before, s.value, format('{:,.2f}, five sessions before {:,.2f}; z-score {:,.2f}', s.value, s.five_before, v.z), s.as_of, s.source, s.provenance, s.observed_at
  FROM series_day AS s JOIN vix AS v ON v.as_of = s.as_of WHERE s.series = 'vix' AND s.as_of = '2026-01-29' AND s.five_before IS NOT NULL
  UNION ALL
  SELECT 12, value BETWEEN 0.9 AND 1.1, value, format('MVRV {:.3f}', value), as_of, source, provenance, observed_at FROM series_day WHERE series = 'btc_mvrv' AND as_of = '2026-01-29'
  UNION ALL
  SELECT 13, value > twenty_before, value, format('{:,.2f}, 20 sessions before {:,.2f}', value, twenty_before), as_of, source, provenance, observed_at FROM series_day WHERE series = 'dxy' AND as_of = '2026-01-29' AND twenty_before IS NOT NULL
  UNION ALL
  SELECT 14, min(value) FILTER (as_of >= '2026-01-01') <= 1.01 * min(value), min(value) FILTER (as_of >= '2026-01-01'),
         format('{:,.2f} on {}; lowest of two years {:,.2f}', min(value) FILTER (as_of >= '2026-01-01'), CAST(arg_min(as_of, value) FILTER (as_of >= '2026-01-01') AS VARCHAR), min(value)),
         arg_min(as_of, value) FILTER (as_of >= '2026-01-01'), any_value(source), any_value(provenance), max(observed_at)
  FROM series_day WHERE series = 'dxy' AND as_of BETWEEN '2024-02-01' AND '2026-01-31' HAVING min(as_of) < '2024-02-10' AND max(as_of) >= '2026-01-29'
  UNION ALL
  SELECT 16, max(z) >= 3, max(z), format('highest z-score {:,.2f} (VIX {:,.2f})', max(z), arg_max(vix, z)) || coalesce(format('; 12 March 2020: {:,.2f}', (SELECT z FROM vix WHERE as_of = '2020-03-12')), ''),
         arg_max(as_of, z), any_value(source), any_value(provenance), max(observed_at) FROM vix WHERE as_of BETWEEN '2026-01-29' AND '2026-02-06' HAVING max(z) IS NOT NULL
  UNION ALL
  SELECT 17, max(spread_bp) > 14, max(spread_bp), format('{:+.0f} to {:+.0f} bp; 14 bp or more last on ', min(spread_bp), max(spread_bp)) || coalesce((SELECT CAST(max(as_of) AS VARCHAR) FROM spread WHERE spread_bp >= 14 AND as_of <= '2026-02-13'), 'no day stored'),
         arg_max(as_of, spread_bp), any_value(source), any_value(provenance), max(observed_at) FROM spread WHERE as_of BETWEEN '2026-01-20' AND '2026-02-13' AND spread_bp IS NOT NULL HAVING count(*) >= 15
  UNION ALL
  SELECT 18, 63.58 / 66e0 - 1 BETWEEN -0.04 AND -0.035, 63.58 / 66e0 - 1, format('{:+.2f} %', 100 * (63.58 / 66e0 - 1)), NULL, NULL, NULL, NULL
  UNION ALL
  SELECT 20, low < 60500, low, format('low {:,.0f}', low), as_of, source, provenance, observed_at FROM daily WHERE as_of = '2026-02-06'
  UNION ALL
  SELECT 21, -0.16 BETWEEN min(highs) AND min(closes), min(highs), format('{:+.1f} % close to close, {:+.1f} % from the high to the low within 24 hours', 100 * min(closes), 100 * min(highs)),
         DATE '2026-02-06', any_value(source), any_value(provenance), max(observed_at) FROM hourly WHERE whole AND time >= TIMESTAMPTZ '2026-02-05 00:00:00+00' AND time < TIMESTAMPTZ '2026-02-07 00:00:00+00' HAVING count(*) = 48
  UNION ALL
  SELECT 22, min(low) FILTER (as_of = '2026-02-06') / max(high) - 1 <= -0.5, min(low) FILTER (as_of = '2026-02-06') / max(high) - 1,
         format('{:+.1f} % from {:,.0f} of {}', 100 * (min(low) FILTER (as_of = '2026-02-06') / max(high) - 1), max(high), CAST(arg_max(as_of, high) AS VARCHAR)), DATE '2026-02-06', any_value(source), any_value(provenance), max(observed_at)
  FROM daily WHERE as_of BETWEEN '2025-08-01' AND '2026-02-06' HAVING count(*) = 190
  UNION ALL
  SELECT 23, max(high) BETWEEN 0.99 * 126000 AND 1.01 * 126000, max(high), format('{:,.0f} on {}', max(high), CAST(arg_max(as_of, high) AS VARCHAR)), arg_max(as_of, high), any_value(source), any_value(provenance), max(observed_at)
  FROM daily WHERE as_of BETWEEN '2025-10-01' AND '2025-10-31' HAVING count(*) = 31
  UNION ALL
  SELECT 25, abs(100 * a.move + 1.5) <= 0.5, a.move, format('6 February {:+.2f} %, 5 February {:+.2f} %', 100 * a.move, 100 * b.move), a.as_of, a.source, a.provenance, a.observed_at
  FROM series_day AS a JOIN series_day AS b ON b.series = a.series AND b.as_of = '2026-02-05' WHERE a.series = 'nasdaq' AND a.as_of = '2026-02-06' AND b.move IS NOT NULL
  UNION ALL
  SELECT 26, abs(100 * a.move + 17) <= 2, a.move, format('6 February {:+.1f} %, 5 February {:+.1f} %', 100 * a.move, 100 * b.move), a.as_of, a.source, a.provenance, a.observed_at
  FROM series_day AS a JOIN series_day AS b ON b.series = a.series AND b.as_of = '2026-02-05' WHERE a.series = 'silver' AND a.as_of = '2026-02-06' AND b.move IS NOT NULL
  UNION ALL
  SELECT 27, abs(100 * move + 31.4) <= 2, move, format('{:+.1f} %', 100 * move), as_of, source, provenance, observed_at FROM series_day WHERE series = 'silver' AND as_of = '2026-01-30' AND move IS NOT NULL
  UNION ALL
  SELECT 28, abs(78 / 121e0 - 1 + 0.314) < 0.005, 78 / 121e0 - 1, format('121 to 78 is {:+.1f} %', 100 * (78 / 121e0 - 1)), NULL, NULL, NULL, NULL
  UNION ALL
  SELECT 29, abs(100 * (peak / base - 1) - 68) <= 5, peak / base - 1, format('{:,.2f} to {:,.2f} on {}: {:+.1f} %', base, peak, CAST(peak_as_of AS VARCHAR), 100 * (peak / base - 1)), peak_as_of, source, provenance, observed_at FROM silver WHERE base IS NOT NULL
  UNION ALL
  SELECT 30, low / peak - 1 <= -0.45, low / peak - 1, format('{:,.2f} to {:,.2f}: {:+.1f} %', peak, low, 100 * (low / peak - 1)), peak_as_of, source, provenance, observed_at FROM silver WHERE low IS NOT NULL
  UNION ALL
  SELECT 31, abs(100 * move - 0.8) <= 0.2, move, format('{:+.2f} %', 100 * move), as_of, source, provenance, observed_at FROM series_day WHERE series = 'dxy' AND as_of = '2026-01-30' AND move IS NOT NULL
  UNION ALL
  SELECT 34, abs(185 / 365e0 - 5) < 0.5, 185 / 365e0, format('185 / 365 = {:,.2f} bn a day', 185 / 365e0), NULL, NULL, NULL, NULL
  UNION ALL
  SELECT 35, 9.8 / 9.37e0 < 1, 9.8 / 9.37e0 - 1, format('9.8 is {:+.1f} % against 9.37', 100 * (9.8 / 9.37e0 - 1)), NULL, NULL, NULL, NULL
  UNION ALL
  SELECT 36, abs(744 / 160e0 - 4.6) < 0.1, 744 / 160e0, format('744 / 160 = {:,.2f}; 75 bn USD for them is {:,.0f} USD each', 744 / 160e0, 75e9 / 744e3), NULL, NULL, NULL, NULL
  UNION ALL
  SELECT 37, value > 4, value, format('{:.3f} %', value), as_of, source, provenance, observed_at FROM series_day WHERE series = 'jgb40' AND as_of = '2026-01-20'
)
SELECT c.articles, c.claim,
       CASE WHEN f.holds IS NULL THEN 'not checkable' WHEN f.provenance = 'sample' THEN 'not checkable'
            WHEN f.holds THEN 'supported' ELSE 'contradicted' END AS verdict,
       CASE WHEN f.holds IS NULL AND f.finding IS NOT NULL AND f.provenance IS DISTINCT FROM 'sample'
              THEN 'n/a (' || f.finding || ': a lower bound refutes nothing)'
            WHEN f.holds IS NULL THEN 'n/a (' || c.lacking || ')'
            WHEN f.provenance = 'sample' THEN 'n/a (sample data)' ELSE f.finding END AS finding,
       f.value, c.rule, f.as_of,
       86400 * date_diff('day', f.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       f.source, CASE f.provenance WHEN 'sample' THEN 'SAMPLE' ELSE f.source END AS origin, f.provenance, f.observed_at, c.n AS number
FROM claim AS c LEFT JOIN fact AS f ON f.n = c.n
WHERE $p_article = 'all' OR contains(c.articles, $p_article)
ORDER BY c.n
