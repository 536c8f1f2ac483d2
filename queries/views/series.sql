-- name: series
-- title: The indicators: unit, sources in order of preference, greatest age, and instrument
-- column: series text name of the indicator
-- column: title text what it measures
-- column: unit text unit of its values
-- column: max_age_days days greatest age at which it is fresh; null: no longer published
-- column: rank index preference of the source, 1 first
-- column: source text source that delivers it
-- column: terms text terms of use of its values
-- column: instrument text what is measured, on which market and at which hour
SELECT s.series, s.title, s.unit, s.max_age_days, o.rank, o.source, s.terms, s.instrument
FROM (VALUES
  ('vix', 'Cboe volatility index, close', 'points', 5, 'cboe fred', 'Cboe; history PDDL', 'VIX, Cboe close'),
  ('sofr', 'Secured overnight financing rate', '%', 6, 'nyfed fred', 'cite the New York Fed', 'SOFR as published'),
  ('iorb', 'Interest on reserve balances, from 2021-07-29', '%', 5, 'fred', 'public domain', 'rate set by the Fed'),
  ('ioer', 'Interest on excess reserves, to 2021-07-28', '%', NULL, 'fred', 'public domain', 'rate set by the Fed'),
  ('dgs10', '10-year Treasury yield', '%', 6, 'treasury fred', 'public domain', 'constant-maturity yield, New York afternoon'),
  ('dgs30', '30-year Treasury yield', '%', 6, 'treasury fred', 'public domain', 'constant-maturity yield, New York afternoon'),
  ('dollar_broad', 'Broad dollar index (DTWEXBGS), not the ICE index', 'Jan 2006 = 100', 14, 'fred', 'public domain', 'broad index of the Fed, noon'),
  ('dxy', 'ICE dollar index', 'points', 6, '', 'licensed: import only', 'ICE dollar index, close'),
  ('mortgage30', '30-year fixed mortgage rate', '%', 9, 'fred', 'Freddie Mac', 'weekly mean of Freddie Mac'),
  ('bank_reserves', 'Reserve balances at the Fed, weekly', 'million USD', 10, 'fred', 'public domain', 'weekly mean of the Fed'),
  ('nasdaq', 'Nasdaq Composite, close', 'points', 6, 'fred', 'Nasdaq: not to be passed on', 'Nasdaq Composite, close'),
  ('nikkei', 'Nikkei 225, close', 'points', 11, 'fred', 'Nikkei: not to be passed on', 'Nikkei 225, close'),
  ('gold', 'Gold', 'USD per oz', 6, '', 'licensed: import only', 'gold, contract not stated'),
  ('silver', 'Silver', 'USD per oz', 6, '', 'licensed: import only', 'silver, contract not stated'),
  ('mags', 'Magnificent Seven ETF (MAGS), close', 'USD', 6, '', 'licensed: import only', 'MAGS, close'),
  ('jgb10', '10-year Japanese government bond yield', '%', 11, 'mof', 'cite the Ministry of Finance', 'constant-maturity yield, Tokyo close'),
  ('jgb40', '40-year Japanese government bond yield', '%', 11, 'mof', 'cite the Ministry of Finance', 'constant-maturity yield, Tokyo close'),
  ('btc_mvrv', 'BTC market value over realised value', 'ratio', 3, 'coinmetrics', 'Coin Metrics, CC BY-NC', 'MVRV of all holders, Coin Metrics'),
  ('btc_sth_mvrv', 'BTC MVRV of short-term holders', 'ratio', 3, '', 'import only', 'MVRV of short-term holders'),
  ('btc', 'BTC price, candles', 'USD', 2, 'candles', 'Binance', 'spot, one venue'),
  ('eth', 'ETH price, candles', 'USD', 2, 'candles', 'Binance', 'spot, one venue')
) AS s(series, title, unit, max_age_days, sources, terms, instrument)
CROSS JOIN LATERAL (
  SELECT unnest(list_filter(string_split(s.sources || ' import', ' '), lambda x: x <> '')) AS source,
         generate_subscripts(list_filter(string_split(s.sources || ' import', ' '), lambda x: x <> ''), 1) AS rank
) AS o
ORDER BY s.series, o.rank
