-- name: claims
-- title: Claims of four articles of early 2026, against stored data
-- needs: known_at(p_known_at), provenance
-- param: p_article TEXT = 'all'  A, B, C or D, or all
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: articles text letters of the articles that make the claim
-- column: claim text the claim, shortened
-- column: verdict text supported, contradicted, depends on …, proxy only, not checkable, or n/a with the part of the window stored
-- column: finding text what the data say, or n/a with the reason
-- column: value figure figure of the finding, a share or in the unit that the finding gives; null where there is none
-- column: rule text what the data must say for the claim to hold
-- column: as_of date day of the figure; null where there is none
-- column: age_seconds seconds whole days since as_of, at p_known_at or now; null where there is no figure
-- column: source text source of the figure; null for the claim's own arithmetic and where there is none
-- column: origin text source, or SAMPLE for invented figures
-- column: provenance text where the figure comes from; null as source is
-- column: observed_at time when its newest version was first observed here; null where not known
-- column: number index number of the claim, from 1
-- column: instrument text what the claim is about, or own arithmetic; null where nothing is stored
-- column: used text what was looked at instead of it or for it; null where nothing is stored
-- column: decides text what a figure can do to the claim: both, support, refute or none; null where nothing is stored
-- column: window_from text first session of the claim's window; null without one
-- column: window_to text last session of the claim's window; null without one
-- column: sessions count sessions of the window that are stored; null without a window
-- column: sessions_wanted count sessions of the window; null without one
-- column: holds flag the figure meets the rule; null where there is no figure
-- column: sources_for count sources whose figures decide for the claim
-- column: sources_against count sources whose figures decide against it
-- show: articles=in claim verdict finding as_of age_seconds=age origin=source
-- note: claims are shortened and are not stored with observations; causes, forecasts and figures of companies cannot be checked here
-- note: supported, contradicted: by the claim's own instrument and session, on a complete window; depends on …: the result changes with source, session, window or measure
-- note: proxy only: another instrument, or one venue where the claim names none: no evidence. n/a (k of n …): part of the window is stored
-- note: figures marked sample are invented and decide nothing
-- note: a finding without a source is the claim's own arithmetic: it can contradict the claim and cannot support it
WITH claim(n, articles, claim, rule, lacking) AS (VALUES
  (1, 'A B', '12 March 2020: BTC fell more than 50 % within 24 hours', 'deepest fall within 24 hours that daily candles of 11 to 13 March allow', 'no daily candles of March 2020'),
  (2, 'B', 'May 2021: BTC from 58,000 down over 10,000 USD in 24 hours', 'on some day of May a fall by over 10,000 within 24 hours from within 2 % of 58,000, as far as daily candles tell', 'no daily candles of May 2021'),
  (3, 'B', 'May 2021: liquidations above 5.87 bn USD', 'sum of exchange liquidations', 'no exchange feed of 2021 is stored'),
  (4, 'A B', 'BTC below 75,000 recently', 'a daily low under 75,000 from 2026-01-01 to 2026-02-10', 'no daily candles of early 2026'),
  (5, 'C', '29 January 2026: BTC broke 88,000', 'the low of the day is under 88,000', 'no daily candles of January 2026'),
  (6, 'C', 'the break of 88,000 was a first', 'no daily low under 88,000 earlier in January 2026', 'no daily candles of January 2026'),
  (7, 'C', 'the Tether news set off the break of 88,000', 'none: a cause', 'a cause cannot be read off prices'),
  (8, 'C', '1 bn USD liquidated on Aave and Compound', 'seized on chain from 29 to 31 January, as far as stored', 'no on-chain liquidations of that window are stored'),
  (9, 'C', 'Tether moves reserves into physical gold', 'ounces (at a stored price of gold, by more than 2 %) and share of 2025-12-31 above those of 2025-09-30', 'the reports of 2025-09-30 and 2025-12-31 are not stored'),
  (10, 'C', 'Tether thereby lowers its digital assets', 'fewer bitcoin and a smaller share on 2025-12-31 than on 2025-09-30', 'the reports of 2025-09-30 and 2025-12-31 are not stored'),
  (11, 'C', 'VIX: volatility keeps rising (late January)', 'VIX of 29 January above that of 1 and of 5 sessions before', 'VIX of January 2026 is not stored'),
  (12, 'C', 'BTC MVRV near 1.0', 'MVRV of 29 January within 10 % of 1.0', 'MVRV of January 2026 is not stored'),
  (13, 'C', 'the dollar is being pushed up', 'ICE dollar index of 29 January above that of 1, of 5 and of 20 sessions before', 'the ICE dollar index is not stored (import dxy)'),
  (14, 'A B', 'the dollar is near a two-year low', 'lowest close of January 2026 within 1 % of the lowest of two years', 'the ICE dollar index is not stored (import dxy)'),
  (15, 'C', 'Microsoft spent 37.5 bn USD in a quarter', 'none', 'company filings are not collected'),
  (16, 'A B', 'this fall is of the kind of March 2020', 'highest VIX z-score of 29 January to 6 February at least 3: one measure of many', 'VIX of early 2026 is not stored'),
  (17, 'B', 'SOFR is over 14 bp above IORB, most since 2020', 'highest SOFR - IORB from 2026-01-20 to 2026-02-13 above 14 bp', 'SOFR and IORB of early 2026 are not stored'),
  (18, 'B', 'MAGS from 66 to 63.58 is nearly 4 %', '63.58 / 66 - 1 between -3.5 % and -4 %', 'its figures are not checked'),
  (19, 'B', 'mortgage rates may go to 7 to 8 %', 'none: a forecast', 'a forecast'),
  (20, 'D', '6 February 2026: BTC touched 60,000', 'the low of the day is under 60,500', 'no daily candles of February 2026'),
  (21, 'D', '6 February 2026: BTC fell 16 % in 24 hours', 'between the falls close to close and high to low within 24 hours', 'no hourly candles of February 2026'),
  (22, 'D', 'BTC is 50 % below its high', 'low of 6 February against the highest price before', 'no daily candles of 2025 and 2026'),
  (23, 'D', 'BTC stood at 126,000 in October 2025', 'highest price of October 2025 within 1 % of 126,000', 'no daily candles of October 2025'),
  (24, 'D', '580,000 accounts lost 2.6 bn USD', 'sum of exchange liquidations of 48 hours at least 2.6 bn; accounts are not counted', 'no exchange feed of that day is stored'),
  (25, 'D', '6 February 2026: Nasdaq down 1.5 %', 'move of that session, or of the one before, within 0.5 points', 'the Nasdaq of February 2026 is not stored'),
  (26, 'D', '6 February 2026: silver down 17 %', 'move of that session, or of the one before, within 2 points', 'silver of February 2026 is not stored (import silver)'),
  (27, 'D', '30 January 2026: silver down 31.4 %', 'move of that session, or of the one before, within 2 points', 'silver of January 2026 is not stored (import silver)'),
  (28, 'D', 'the same fall of silver: 31.4 %, and from 121 to 78', '78 / 121 - 1 equals -31.4 %', 'a change of closes may differ from a range'),
  (29, 'D', 'silver rose 68 % within January', 'from the last close of 2025 to the highest close of January, within 5 points', 'silver of January 2026 is not stored (import silver)'),
  (30, 'D', 'silver then fell 50 % in three days', 'from the highest close of January to the lowest of the next three sessions at least 45 %', 'silver of February 2026 is not stored (import silver)'),
  (31, 'D', '30 January 2026: the dollar up 0.8 %', 'move of that session, or of the one before, within 0.2 points', 'the ICE dollar index is not stored (import dxy)'),
  (32, 'A B D', 'Warsh is nominated as chair (D), as vice chair (A, B)', 'none', 'nominations are not collected; the texts contradict each other'),
  (33, 'D', 'CME margins: silver 11 to 15 %, gold 6 to 8 %', 'none', 'exchange notices are not collected'),
  (34, 'D', 'Alphabet: 175 to 185 bn a year is 5 bn a day', '185 / 365 is 5', 'its figures are not stored'),
  (35, 'D', 'AMD guides 9.8 bn: above 9.37 bn expected, 2 % short of 10 bn', '9.8 / 9.37 is above 1, and 1 - 9.8 / 10 is 2 %', 'its figures are not stored'),
  (36, 'D', '744,000 BTC bought is 4.6 times the new supply of 160,000', '744 / 160 is 4.6 to one decimal', 'its figures are not stored'),
  (37, 'D', '20 January 2026: 40-year Japanese yield above 4 %', 'constant-maturity yield of that day above 4 %', 'Japanese yields of January 2026 are not stored')
), trial(n, decides, form, clock, first, last, subject, instrument) AS (VALUES
  -- decides: what a stored figure can do to the claim. An instrument of the claim's own does both; one venue of many
  -- may support that a price was traded, or refute that it never was; a proxy does nothing.
  -- form: whole: the window is needed; exists: one session proves it; all: one session refutes it.
  (1, 'support', 'whole', 'day', '2020-03-11', '2020-03-13', 'BTC 1d', 'BTC, no venue named'),
  (2, 'support', 'exists', 'day', '2021-05-01', '2021-06-01', 'BTC 1d', 'BTC, no venue named'),
  (3, 'support', 'exists', '', '', '', '', 'liquidations of all exchanges'),
  (4, 'support', 'exists', 'day', '2026-01-01', '2026-02-10', 'BTC 1d', 'BTC, no venue named'),
  (5, 'support', 'exists', 'day', '2026-01-29', '2026-01-29', 'BTC 1d', 'BTC, no venue named'),
  (6, 'refute', 'all', 'day', '2026-01-02', '2026-01-28', 'BTC 1d', 'BTC, no venue named'),
  (8, 'support', 'exists', '', '', '', '', 'seizures on Aave and Compound'),
  (9, 'both', 'whole', '', '', '', '', 'reserve reports of Tether'),
  (10, 'both', 'whole', '', '', '', '', 'reserve reports of Tether'),
  (11, 'both', 'whole', 'session', '2026-01-22', '2026-01-29', 'vix', 'VIX'),
  (12, 'support', 'whole', 'day', '2026-01-29', '2026-01-29', 'btc_mvrv,btc_sth_mvrv', 'MVRV, of which holders not named'),
  (13, 'both', 'whole', 'session', '2025-12-30', '2026-01-29', 'dxy', 'dollar index'),
  (14, 'both', 'whole', 'session', '2024-02-01', '2026-01-30', 'dxy', 'dollar index'),
  (16, 'none', 'whole', 'session', '2025-01-28', '2026-02-06', 'vix', 'no measure named'),
  (17, 'both', 'exists', 'session', '2026-01-20', '2026-02-13', 'spread', 'SOFR - IORB'),
  (18, 'refute', 'whole', '', '', '', '', 'own arithmetic'),
  (20, 'support', 'exists', 'day', '2026-02-06', '2026-02-06', 'BTC 1d', 'BTC, no venue named'),
  (21, 'support', 'whole', 'hour', '2026-02-04', '2026-02-06', 'BTC 1h', 'BTC, no venue named'),
  (22, 'support', 'exists', 'day', '2025-08-01', '2026-02-06', 'BTC 1d', 'BTC, no venue named'),
  (23, 'support', 'whole', 'day', '2025-10-01', '2025-10-31', 'BTC 1d', 'BTC, no venue named'),
  (24, 'none', 'exists', '', '', '', '', 'accounts and sum of all exchanges in 24 hours'),
  (25, 'none', 'whole', 'session', '2026-02-04', '2026-02-06', 'nasdaq', 'a Nasdaq index, not named'),
  (26, 'none', 'whole', 'session', '2026-02-04', '2026-02-06', 'silver', 'silver, contract not named'),
  (27, 'none', 'whole', 'session', '2026-01-28', '2026-01-30', 'silver', 'settlement of silver futures'),
  (28, 'none', 'whole', '', '', '', '', 'own arithmetic'),
  (29, 'none', 'whole', 'session', '2025-12-31', '2026-01-30', 'silver', 'silver, contract not named'),
  (30, 'none', 'whole', 'session', '2026-01-02', '2026-02-04', 'silver', 'silver, contract not named'),
  (31, 'both', 'whole', 'session', '2026-01-28', '2026-01-30', 'dxy', 'dollar index'),
  (34, 'refute', 'whole', '', '', '', '', 'own arithmetic'),
  (35, 'refute', 'whole', '', '', '', '', 'own arithmetic'),
  (36, 'refute', 'whole', '', '', '', '', 'own arithmetic'),
  (37, 'none', 'whole', 'session', '2026-01-20', '2026-01-20', 'jgb40', 'quoted 40-year yield, any time of the day')
), closed(day) AS (
  -- Days without a session of the New York exchanges, within the windows above.
  SELECT CAST(unnest([
    '2024-02-19', '2024-03-29', '2024-05-27', '2024-06-19', '2024-07-04', '2024-09-02', '2024-11-28', '2024-12-25',
    '2025-01-01', '2025-01-09', '2025-01-20', '2025-02-17', '2025-04-18', '2025-05-26', '2025-06-19', '2025-07-04',
    '2025-09-01', '2025-11-27', '2025-12-25', '2026-01-01', '2026-01-19']) AS DATE)
), wanted AS (
  SELECT t.n, t.subject, u.moment
  FROM trial AS t CROSS JOIN LATERAL (
    SELECT unnest(generate_series(CAST(nullif(t.first, '') AS TIMESTAMP), CAST(nullif(t.last, '') AS TIMESTAMP) + INTERVAL 23 HOUR,
                                  CASE t.clock WHEN 'hour' THEN INTERVAL 1 HOUR ELSE INTERVAL 1 DAY END)) AS moment
  ) AS u
  WHERE t.clock <> '' AND (t.clock <> 'session'
    OR (isodow(u.moment) < 6 AND CAST(u.moment AS DATE) NOT IN (SELECT day FROM closed)))
), candle AS (
  -- Each venue by itself; sample data count as a source of their own.
  SELECT 'BTC ' || c.interval AS subject, CASE c.venue WHEN 'import' THEN 1 ELSE 0 END AS rank,
         c.venue || CASE c.provenance WHEN 'sample' THEN ' sample' ELSE '' END AS party,
         CASE c.venue WHEN 'import' THEN 'BTC as imported, venue not stated' ELSE c.symbol || ' on ' || c.venue END AS used,
         c.time AT TIME ZONE 'UTC' AS moment, c.low, c.high, c.close, c.source, c.provenance, c.observed_at
  FROM candles AS c
  WHERE c.asset = 'BTC' AND ($p_known_at IS NULL OR c.known_at <= $p_known_at)
  QUALIFY row_number() OVER (PARTITION BY c.venue, c.interval, c.time ORDER BY c.known_at DESC, c.observed_at DESC) = 1
), daily AS (
  SELECT *, CAST(moment AS DATE) AS as_of, CASE WHEN lag(moment) OVER near = moment - INTERVAL 1 DAY THEN lag(close) OVER near END AS close_before,
         CASE WHEN lead(moment) OVER near = moment + INTERVAL 1 DAY THEN lead(low) OVER near END AS low_after
  FROM candle WHERE subject = 'BTC 1d'
  WINDOW near AS (PARTITION BY party ORDER BY moment)
), hourly AS (
  SELECT *, CAST(moment AS DATE) AS as_of, close / lag(close, 24) OVER (PARTITION BY party ORDER BY moment) - 1 AS closes,
         low / max(high) OVER (PARTITION BY party ORDER BY moment ROWS BETWEEN 23 PRECEDING AND CURRENT ROW) - 1 AS highs
  FROM candle WHERE subject = 'BTC 1h'
), quoted AS (
  SELECT v.series AS subject, s.rank, v.source || CASE v.provenance WHEN 'sample' THEN ' sample' ELSE '' END AS party,
         s.instrument || CASE v.source WHEN 'import' THEN ', as imported' ELSE '' END AS used, v.as_of, v.value, v.source, v.provenance, v.observed_at
  FROM indicator_values AS v
  JOIN series() AS s ON s.series = v.series AND s.source = v.source
  WHERE v.series IN ('vix', 'btc_mvrv', 'btc_sth_mvrv', 'dxy', 'nasdaq', 'silver', 'jgb40', 'sofr')
    AND ($p_known_at IS NULL OR v.known_at <= $p_known_at)
  QUALIFY row_number() OVER (PARTITION BY v.series, v.source, v.as_of ORDER BY v.known_at DESC, v.observed_at DESC) = 1
), quote AS (
  SELECT *, value / lag(value) OVER day - 1 AS move, lag(value) OVER day / lag(value, 2) OVER day - 1 AS move_before,
         lag(as_of) OVER day AS as_of_before,
         CASE WHEN count(*) OVER before = 252 THEN (value - avg(value) OVER before) / stddev_samp(value) OVER before END AS z
  FROM quoted
  WINDOW day AS (PARTITION BY subject, party ORDER BY as_of),
         before AS (PARTITION BY subject, party ORDER BY as_of ROWS BETWEEN 252 PRECEDING AND 1 PRECEDING)
), spread AS (
  -- Days with both rates. Where only the Fed's is a sample they are a source of their own.
  SELECT 'spread' AS subject, q.rank, q.used, q.as_of, q.source, round(100 * (q.value - d.paid), 6) AS spread_bp,
         q.party || CASE WHEN p.provenance = 'sample' AND q.provenance <> 'sample' THEN ' less a sample' ELSE '' END AS party,
         CASE WHEN q.provenance = 'live' OR p.provenance = 'sample' THEN p.provenance ELSE q.provenance END AS provenance,
         greatest(q.observed_at, p.observed_at) AS observed_at
  FROM quote AS q
  JOIN spread_days(p_known_at := $p_known_at) AS d ON d.as_of = q.as_of
  JOIN indicators_at(p_known_at := $p_known_at) AS p ON p.series = d.administered_rate AND p.as_of = d.administered_rate_as_of
  WHERE q.subject = 'sofr' AND d.paid IS NOT NULL
), at_hand AS (
  SELECT subject, party, min(rank) AS rank, any_value(used) AS used, any_value(source) AS source,
         any_value(provenance) AS provenance, max(observed_at) AS observed_at FROM candle GROUP BY subject, party
  UNION ALL
  SELECT subject, party, min(rank), any_value(used), any_value(source), any_value(provenance), max(observed_at)
  FROM quote GROUP BY subject, party
  UNION ALL
  SELECT subject, party, min(rank), any_value(used), any_value(source), min(provenance), max(observed_at)
  FROM spread GROUP BY subject, party
), covered AS (
  -- Per claim and source: how many of the sessions that the claim needs are stored.
  SELECT w.n, h.subject, h.party, h.rank, h.used, h.source, h.provenance, h.observed_at,
         count(*) AS sessions_wanted, count(s.moment) AS sessions
  FROM wanted AS w
  JOIN at_hand AS h ON list_contains(string_split(w.subject, ','), h.subject)
  LEFT JOIN (SELECT subject, party, moment FROM candle
             UNION ALL SELECT subject, party, CAST(as_of AS TIMESTAMP) FROM quote
             UNION ALL SELECT subject, party, CAST(as_of AS TIMESTAMP) FROM spread) AS s
    ON s.subject = h.subject AND s.party = h.party AND s.moment = w.moment
  GROUP BY ALL
), held AS (
  SELECT r.*, r.quantity_effect_usd / r.previous_usd AS grown, r.previous_usd / p.assets AS share_before,
         contains(r.quantity_unit, 'MODEL') AS modelled
  FROM reserves(p_token := 'USDT', p_last := 1000, p_known_at := $p_known_at) AS r
  JOIN (SELECT token, kind, as_of, CAST(assets AS DOUBLE) AS assets FROM statements_at(p_token := 'USDT', p_known_at := $p_known_at)) AS p
    ON p.token = r.token AND p.kind = r.kind AND p.as_of = r.previous_as_of
  WHERE r.kind = 'quarterly report' AND r.as_of = '2025-12-31' AND r.previous_as_of = '2025-09-30'
    AND r.asset_class IN ('precious metals', 'bitcoin')
), fallen AS (
  -- What daily candles tell of falls within 24 hours. Sure: from the close before, or from the high to the close.
  -- At most: from the high to the low of the same or of the next day, which is up to 48 hours.
  SELECT *, greatest(1 - low / close_before, 1 - close / high) AS sure_share, 1 - least(low, low_after) / high AS most_share,
         (high BETWEEN 56840 AND 59160 AND high - close > 10000)
           OR (close_before BETWEEN 56840 AND 59160 AND close_before - low > 10000) AS sure_from_58000,
         high >= 56840 AND low <= 59160 AND least(high, 59160) - least(low, low_after) > 10000 AS open_from_58000
  FROM daily
), silver AS (
  SELECT party, max(value) FILTER (as_of = '2025-12-31') AS base, any_value(peak) AS peak, any_value(peak_as_of) AS peak_as_of,
         min(value) FILTER (as_of > peak_as_of AND after <= 3) AS low
  FROM (
    SELECT *, count(*) FILTER (as_of > peak_as_of) OVER (PARTITION BY party ORDER BY as_of) AS after
    FROM (SELECT *, max(value) FILTER (as_of BETWEEN '2026-01-01' AND '2026-01-31') OVER (PARTITION BY party) AS peak,
                 arg_max(as_of, value) FILTER (as_of BETWEEN '2026-01-01' AND '2026-01-31') OVER (PARTITION BY party) AS peak_as_of
          FROM quote WHERE subject = 'silver') AS marked
  ) AS counted
  GROUP BY party
), session(n, subject, as_of, wanted_pct, within) AS (
  -- Moves of a session that a text dates by the calendar of Asia, where it may be the session of the day before.
  VALUES (25, 'nasdaq', DATE '2026-02-06', -1.5, 0.5), (26, 'silver', DATE '2026-02-06', -17, 2),
         (27, 'silver', DATE '2026-01-30', -31.4, 2), (31, 'dxy', DATE '2026-01-30', 0.8, 0.2)
), moved AS (
  SELECT s.n, s.subject, q.party, s.as_of, q.as_of_before, q.move, q.move_before,
         abs(100 * q.move - s.wanted_pct) <= s.within AS named, abs(100 * q.move_before - s.wanted_pct) <= s.within AS day_before
  FROM session AS s JOIN quote AS q ON q.subject = s.subject AND q.as_of = s.as_of
), baseline(subject, as_of, sessions) AS (
  VALUES ('vix', DATE '2026-01-28', 1), ('vix', DATE '2026-01-22', 5),
         ('dxy', DATE '2026-01-28', 1), ('dxy', DATE '2026-01-22', 5), ('dxy', DATE '2025-12-30', 20)
), trend AS (
  -- A rise up to 29 January: above every baseline. Where a window decides, that is said.
  SELECT n.subject, n.party, n.as_of, n.value, any_value(n.z) AS z, bool_and(n.value > b.value) AS over_all, bool_or(n.value > b.value) AS over_any,
         string_agg(format('{} {:,.2f}', d.sessions, b.value), ', ' ORDER BY d.sessions) AS earlier
  FROM quote AS n
  JOIN baseline AS d ON d.subject = n.subject
  JOIN quote AS b ON b.subject = d.subject AND b.as_of = d.as_of AND b.party = n.party
  WHERE n.as_of = '2026-01-29'
  GROUP BY n.subject, n.party, n.as_of, n.value
), fact(n, subject, party, holds, depends, value, finding, as_of) AS (
  SELECT 1, subject, party, CASE WHEN max(sure_share) > 0.5 THEN true WHEN max(most_share) <= 0.5 THEN false END, NULL, -max(most_share),
         format('{:+.1f} % close to close; at most high {:,.0f} to low {:,.0f}: {:+.1f} %, within up to 48 hours', 100 * any_value(close / close_before - 1) FILTER (as_of = '2020-03-12'),
                arg_max(high, most_share), arg_max(least(low, low_after), most_share), -100 * max(most_share)), DATE '2020-03-12'
  FROM fallen WHERE as_of IN ('2020-03-11', '2020-03-12') GROUP BY subject, party HAVING max(most_share) IS NOT NULL
  UNION ALL
  SELECT 2, subject, party, CASE WHEN bool_or(sure_from_58000) THEN true WHEN NOT bool_or(coalesce(open_from_58000, true)) THEN false END, NULL,
         arg_max(high - least(low, low_after), most_share) FILTER (open_from_58000),
         coalesce(format('{}: high {:,.0f}, close {:,.0f}, low of the next day {:,.0f}',
                         min(as_of) FILTER (open_from_58000), arg_min(high, as_of) FILTER (open_from_58000), arg_min(close, as_of) FILTER (open_from_58000),
                         arg_min(low_after, as_of) FILTER (open_from_58000))
                    || CASE WHEN bool_or(sure_from_58000) THEN '' ELSE ': daily candles leave 24 hours open' END, 'no such day'),
         coalesce(min(as_of) FILTER (open_from_58000), max(as_of))
  FROM fallen WHERE as_of BETWEEN '2021-05-01' AND '2021-05-31' GROUP BY subject, party
  UNION ALL
  SELECT CASE event WHEN '2021-05-19' THEN 3 ELSE 24 END, '', 'exchanges', CASE WHEN usd >= CASE event WHEN '2021-05-19' THEN 5.87e9 ELSE 2.6e9 END THEN true END, NULL, usd,
         format('at least {:,.0f} USD on {}', usd, venues) || CASE WHEN usd >= CASE event WHEN '2021-05-19' THEN 5.87e9 ELSE 2.6e9 END THEN '' ELSE ': a lower bound refutes nothing' END, CAST(event AS DATE)
  FROM exchange_sums() WHERE event IN ('2021-05-19', '2026-02-05') AND orders > 0 AND usd IS NOT NULL
  UNION ALL
  SELECT 4, subject, party, min(low) < 75000, NULL, min(low), CASE WHEN min(low) < 75000 THEN format('first on {}: {:,.0f}', CAST(min(as_of) FILTER (low < 75000) AS VARCHAR), arg_min(low, as_of) FILTER (low < 75000))
                                                                  ELSE format('lowest: {:,.0f}', min(low)) END, coalesce(min(as_of) FILTER (low < 75000), max(as_of))
  FROM daily WHERE as_of BETWEEN '2026-01-01' AND '2026-02-10' GROUP BY subject, party
  UNION ALL
  SELECT 5, subject, party, low < 88000, NULL, low, format('low {:,.0f}, close {:,.0f}', low, close), as_of FROM daily WHERE as_of = '2026-01-29'
  UNION ALL
  SELECT 6, subject, party, count(*) FILTER (low < 88000) = 0, NULL, CAST(count(*) FILTER (low < 88000) AS DOUBLE),
         coalesce('lows under it on ' || string_agg(strftime(as_of, '%d'), ', ' ORDER BY as_of) FILTER (low < 88000) || ' January', 'no low under it'), max(as_of)
  FROM daily WHERE as_of BETWEEN '2026-01-02' AND '2026-01-28' GROUP BY subject, party
  UNION ALL
  SELECT 8, '', 'chain', CASE WHEN usd >= 1e9 THEN true END, NULL, usd,
         format('at least {:,.0f} USD in {:,} events of {}', usd, events, markets) || CASE WHEN usd >= 1e9 THEN '' ELSE ': a lower bound refutes nothing' END, DATE '2026-01-29'
  FROM chain_sums() WHERE event = '2026-01-29' AND events > 0
  UNION ALL
  SELECT 9, '', source, CASE WHEN grown IS NOT NULL THEN total_share > share_before AND grown > 0.02 END, CASE WHEN (total_share > share_before) <> (grown > 0.02) THEN 'measure' END, total_share,
         format('gold {:,.2f} % of the reserve, {:,.2f} % a quarter before; {:+.2f} bn USD', 100 * total_share, 100 * share_before, change_usd / 1e9)
           || coalesce(format(': {:+.2f} by quantity ({:+.1f} % of the ounces, MODEL), {:+.2f} by price', quantity_effect_usd / 1e9, 100 * grown, price_effect_usd / 1e9),
                       ', by quantity or by price is not known (import gold)'), as_of
  FROM held WHERE asset_class = 'precious metals'
  UNION ALL
  SELECT 10, '', source, CASE WHEN grown IS NOT NULL THEN total_share < share_before AND grown < bound END, CASE WHEN (total_share < share_before) <> (grown < bound) THEN 'measure' END, quantity,
         coalesce(format('{:,.0f} BTC, {:,.0f} a quarter before; ', quantity, quantity / (1 + grown)), '')
           || format('{:,.2f} % of the reserve, {:,.2f} % before; {:+.2f} bn USD', 100 * total_share, 100 * share_before, change_usd / 1e9)
           || coalesce(format(': {:+.2f} by quantity, {:+.2f} by price', quantity_effect_usd / 1e9, price_effect_usd / 1e9), ', by quantity or by price is not known'), as_of
  FROM (SELECT *, CASE WHEN modelled THEN -0.02 ELSE 0 END AS bound FROM held) AS bounded WHERE asset_class = 'bitcoin'
  UNION ALL
  SELECT CASE subject WHEN 'vix' THEN 11 ELSE 13 END, subject, party, over_all, CASE WHEN over_all <> over_any THEN 'window' END, value,
         format('{:,.2f}; sessions before: {}', value, earlier) || CASE subject WHEN 'vix' THEN coalesce(format('; z-score {:,.2f}', z), '') ELSE '' END, as_of
  FROM trend
  UNION ALL
  SELECT 12, subject, party, value BETWEEN 0.9 AND 1.1, NULL, value, format('MVRV {:.3f}', value), as_of FROM quote WHERE subject IN ('btc_mvrv', 'btc_sth_mvrv') AND as_of = '2026-01-29'
  UNION ALL
  SELECT 14, subject, party, min(value) FILTER (as_of >= '2026-01-01') <= 1.01 * min(value), NULL, min(value) FILTER (as_of >= '2026-01-01'),
         format('{:,.2f} on {}; lowest of two years {:,.2f}', min(value) FILTER (as_of >= '2026-01-01'), CAST(arg_min(as_of, value) FILTER (as_of >= '2026-01-01') AS VARCHAR), min(value)),
         arg_min(as_of, value) FILTER (as_of >= '2026-01-01')
  FROM quote WHERE subject = 'dxy' AND as_of BETWEEN '2024-02-01' AND '2026-01-30' GROUP BY subject, party
  UNION ALL
  SELECT 16, subject, party, max(z) >= 3, NULL, max(z), format('highest z-score {:,.2f} (VIX {:,.2f})', max(z) FILTER (late), arg_max(value, z) FILTER (late))
           || coalesce(format('; 12 March 2020: {:,.2f}', any_value(z) FILTER (NOT late)), ''), arg_max(as_of, z) FILTER (late)
  FROM (SELECT *, as_of BETWEEN '2026-01-29' AND '2026-02-06' AS late FROM quote WHERE subject = 'vix') AS marked
  WHERE late OR as_of = '2020-03-12' GROUP BY subject, party
  UNION ALL
  SELECT 17, subject, party, max(spread_bp) > 14, NULL, max(spread_bp), format('{:+.0f} to {:+.0f} bp; 14 bp or more last on ', min(spread_bp), max(spread_bp))
           || coalesce((SELECT CAST(max(o.as_of) AS VARCHAR) FROM spread AS o WHERE o.spread_bp >= 14 AND o.as_of <= '2026-02-13' AND o.party = spread.party), 'no day stored'), arg_max(as_of, spread_bp)
  FROM spread WHERE as_of BETWEEN '2026-01-20' AND '2026-02-13' GROUP BY subject, party
  UNION ALL
  SELECT 20, subject, party, low < 60500, NULL, low, format('low {:,.0f}', low), as_of FROM daily WHERE as_of = '2026-02-06'
  UNION ALL
  SELECT 21, subject, party, -0.16 BETWEEN min(highs) AND min(closes), NULL, min(highs), format('{:+.1f} % close to close, {:+.1f} % from the high to the low within 24 hours', 100 * min(closes), 100 * min(highs)), DATE '2026-02-06'
  FROM hourly WHERE as_of BETWEEN '2026-02-05' AND '2026-02-06' GROUP BY subject, party
  UNION ALL
  SELECT 22, subject, party, min(low) FILTER (as_of = '2026-02-06') / max(high) - 1 <= -0.5, NULL, min(low) FILTER (as_of = '2026-02-06') / max(high) - 1,
         format('{:+.1f} % from {:,.0f} of {}', 100 * (min(low) FILTER (as_of = '2026-02-06') / max(high) - 1), max(high), CAST(arg_max(as_of, high) AS VARCHAR)), DATE '2026-02-06'
  FROM daily WHERE as_of BETWEEN '2025-08-01' AND '2026-02-06' GROUP BY subject, party
  UNION ALL
  SELECT 23, subject, party, max(high) BETWEEN 0.99 * 126000 AND 1.01 * 126000, NULL, max(high), format('{:,.0f} on {}', max(high), CAST(arg_max(as_of, high) AS VARCHAR)), arg_max(as_of, high)
  FROM daily WHERE as_of BETWEEN '2025-10-01' AND '2025-10-31' GROUP BY subject, party
  UNION ALL
  SELECT n, subject, party, named, CASE WHEN NOT named AND day_before THEN 'session' END, move,
         format('{} {:+.2f} %, {} {:+.2f} %', strftime(as_of, '%-d %B'), 100 * move, strftime(as_of_before, '%-d %B'), 100 * move_before), as_of FROM moved
  UNION ALL
  SELECT 29, 'silver', party, abs(100 * (peak / base - 1) - 68) <= 5, NULL, peak / base - 1, format('{:,.2f} to {:,.2f} on {}: {:+.1f} %', base, peak, CAST(peak_as_of AS VARCHAR), 100 * (peak / base - 1)), peak_as_of FROM silver WHERE peak IS NOT NULL
  UNION ALL
  SELECT 30, 'silver', party, low / peak - 1 <= -0.45, NULL, low / peak - 1, format('{:,.2f} to {:,.2f}: {:+.1f} %', peak, low, 100 * (low / peak - 1)), peak_as_of FROM silver WHERE peak IS NOT NULL
  UNION ALL
  SELECT 37, subject, party, value > 4, NULL, value, format('{:.3f} %', value), as_of FROM quote WHERE subject = 'jgb40' AND as_of = '2026-01-20'
  UNION ALL
  SELECT n, '', '', holds, NULL, value, finding, NULL
  FROM (VALUES
    (18, 63.58 / 66e0 - 1 BETWEEN -0.04 AND -0.035, 63.58 / 66e0 - 1, format('{:+.2f} %', 100 * (63.58 / 66e0 - 1))),
    (28, abs(78 / 121e0 - 1 + 0.314) < 0.005, 78 / 121e0 - 1, format('121 to 78 is {:+.1f} %', 100 * (78 / 121e0 - 1))),
    (34, abs(185 / 365e0 - 5) < 0.5, 185 / 365e0, format('185 / 365 = {:,.2f} bn a day', 185 / 365e0)),
    (35, 9.8 / 9.37e0 > 1 AND abs(1 - 9.8 / 10e0 - 0.02) < 0.005, 9.8 / 9.37e0 - 1, format('9.8 is {:+.1f} % against 9.37 and {:+.1f} % against 10', 100 * (9.8 / 9.37e0 - 1), 100 * (9.8 / 10e0 - 1))),
    (36, abs(744 / 160e0 - 4.6) < 0.1, 744 / 160e0, format('744 / 160 = {:,.2f}; 75 bn USD for them is {:,.0f} USD each', 744 / 160e0, 75e9 / 744e3))
  ) AS own(n, holds, value, finding)
), source_of(n, party, used, source, provenance, observed_at) AS (
  SELECT 3, 'exchanges', 'orders of the venues stored', 'exchanges', NULL, NULL
  UNION ALL SELECT 24, 'exchanges', 'orders of the venues stored', 'exchanges', NULL, NULL
  UNION ALL SELECT 8, 'chain', 'seizures of the markets stored', 'chain', NULL, NULL
  UNION ALL SELECT CASE asset_class WHEN 'bitcoin' THEN 10 ELSE 9 END, source, 'reserve reports of Tether', source, provenance, observed_at FROM held
  UNION ALL SELECT n, '', 'own arithmetic', NULL, NULL, NULL FROM trial WHERE instrument = 'own arithmetic'
), heard AS (
  SELECT t.*, coalesce(c.party, o.party) AS party, coalesce(c.used, o.used) AS used, coalesce(c.source, o.source) AS source,
         coalesce(c.provenance, o.provenance) AS provenance, coalesce(c.observed_at, o.observed_at) AS observed_at,
         coalesce(c.rank, 0) AS rank, c.sessions, c.sessions_wanted, f.holds, f.depends, f.value, f.finding, f.as_of,
         f.holds IS NOT NULL AND coalesce(c.provenance, o.provenance) IS DISTINCT FROM 'sample'
           AND (coalesce(c.sessions = c.sessions_wanted, true) OR CASE WHEN f.holds THEN t.form = 'exists' ELSE t.form = 'all' END) AS decided
  FROM trial AS t
  LEFT JOIN covered AS c ON c.n = t.n AND c.sessions > 0
  LEFT JOIN source_of AS o ON o.n = t.n AND t.clock = ''
  LEFT JOIN fact AS f ON f.n = t.n AND f.party = coalesce(c.party, o.party) AND f.subject = coalesce(c.subject, '')
  WHERE c.n IS NOT NULL OR f.n IS NOT NULL
), rated AS (
  SELECT *, count(*) FILTER (decided AND holds) OVER claim AS sources_for, count(*) FILTER (decided AND NOT holds) OVER claim AS sources_against,
         string_agg(party || ': ' || finding, '; ' ORDER BY party) FILTER (decided) OVER claim AS findings
  FROM heard
  WINDOW claim AS (PARTITION BY n)
  QUALIFY row_number() OVER (PARTITION BY n ORDER BY decided DESC, provenance = 'sample' NULLS FIRST, sessions DESC, rank, party) = 1
), answered AS (
  SELECT c.articles, c.claim, c.rule, c.lacking, c.n AS number, j.* EXCLUDE (n),
         CASE WHEN j.decided AND j.instrument = 'own arithmetic'
                THEN CASE WHEN j.decides = 'refute' AND NOT j.holds THEN 'contradicted' ELSE 'not checkable' END
              WHEN j.decided AND j.decides = 'none' THEN 'proxy only'
              WHEN j.sources_for > 0 AND j.sources_against > 0 THEN 'depends on the source'
              WHEN j.decided AND j.depends IS NOT NULL THEN 'depends on the ' || j.depends
              WHEN j.decided AND j.holds AND j.decides IN ('both', 'support') THEN 'supported'
              WHEN j.decided AND NOT j.holds AND j.decides IN ('both', 'refute') THEN 'contradicted'
              WHEN j.decided THEN 'proxy only'
              WHEN j.sessions < j.sessions_wanted AND j.provenance <> 'sample'
                THEN format('n/a ({} of {} {}s)', j.sessions, j.sessions_wanted, j.clock)
              ELSE 'not checkable' END AS verdict
  FROM claim AS c LEFT JOIN rated AS j ON j.n = c.n
)
SELECT articles, claim, verdict,
       CASE WHEN provenance = 'sample' THEN 'n/a (sample data)'
            WHEN finding IS NULL THEN 'n/a (' || lacking || ')'
            WHEN verdict = 'not checkable' THEN 'n/a (' || finding || CASE instrument WHEN 'own arithmetic' THEN ': ' || lacking ELSE '' END || ')'
            WHEN verdict = 'depends on the source' THEN findings
            WHEN verdict = 'proxy only' THEN finding || ' (' || used || '; the claim: ' || instrument || ')'
            WHEN verdict LIKE 'n/a%' THEN 'so far ' || finding
            ELSE finding END AS finding,
       value, rule, as_of, 86400 * date_diff('day', as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       source, CASE provenance WHEN 'sample' THEN 'SAMPLE' ELSE source END AS origin, provenance, observed_at, number,
       instrument, used, decides, nullif(first, '') AS window_from, nullif(last, '') AS window_to, sessions, sessions_wanted,
       holds, sources_for, sources_against
FROM answered
WHERE $p_article = 'all' OR contains(articles, $p_article)
ORDER BY number
