-- name: series
-- title: The indicators: unit, sources in the order in which they are believed, and how old each may be
SELECT s.series, s.title, s.unit, s.max_age_days, o.rank, o.source, s.terms
FROM (VALUES
  ('vix', 'Cboe volatility index, close', 'points', 5, 'cboe fred', 'Cboe; history PDDL'),
  ('sofr', 'Secured overnight financing rate', '%', 6, 'nyfed fred', 'cite the New York Fed'),
  ('iorb', 'Interest on reserve balances, from 2021-07-29', '%', 5, 'fred', 'public domain'),
  ('ioer', 'Interest on excess reserves, to 2021-07-28', '%', NULL, 'fred', 'public domain'),
  ('dgs10', '10-year Treasury yield', '%', 6, 'treasury fred', 'public domain'),
  ('dgs30', '30-year Treasury yield', '%', 6, 'treasury fred', 'public domain'),
  ('dollar_broad', 'Broad dollar index (DTWEXBGS), not the ICE index', 'Jan 2006 = 100', 14, 'fred', 'public domain'),
  ('dxy', 'ICE dollar index', 'points', 6, '', 'licensed: import only'),
  ('mortgage30', '30-year fixed mortgage rate', '%', 9, 'fred', 'Freddie Mac'),
  ('bank_reserves', 'Reserve balances at the Fed, weekly', 'million USD', 10, 'fred', 'public domain'),
  ('nasdaq', 'Nasdaq Composite, close', 'points', 6, 'fred', 'Nasdaq: not to be passed on'),
  ('nikkei', 'Nikkei 225, close', 'points', 11, 'fred', 'Nikkei: not to be passed on'),
  ('gold', 'Gold', 'USD per oz', 6, '', 'licensed: import only'),
  ('silver', 'Silver', 'USD per oz', 6, '', 'licensed: import only'),
  ('mags', 'Magnificent Seven ETF (MAGS), close', 'USD', 6, '', 'licensed: import only'),
  ('jgb10', '10-year Japanese government bond yield', '%', 11, 'mof', 'cite the Ministry of Finance'),
  ('jgb40', '40-year Japanese government bond yield', '%', 11, 'mof', 'cite the Ministry of Finance'),
  ('btc_mvrv', 'BTC market value over realised value', 'ratio', 3, 'coinmetrics', 'Coin Metrics, CC BY-NC'),
  ('btc_sth_mvrv', 'BTC MVRV of short-term holders', 'ratio', 3, '', 'import only'),
  ('btc', 'BTC price, candles', 'USD', 2, 'candles', 'Binance'),
  ('eth', 'ETH price, candles', 'USD', 2, 'candles', 'Binance')
) AS s(series, title, unit, max_age_days, sources, terms)
CROSS JOIN LATERAL (
  SELECT unnest(list_filter(string_split(s.sources || ' import', ' '), lambda x: x <> '')) AS source,
         generate_subscripts(list_filter(string_split(s.sources || ' import', ' '), lambda x: x <> ''), 1) AS rank
) AS o
ORDER BY s.series, o.rank
