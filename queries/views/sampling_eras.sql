-- name: sampling_eras
-- title: What each venue published when: sums of different eras do not compare
-- note: from_time: at the latest since then; to_time null: still so; unknown: the venue documents no limit and nobody has measured one
SELECT * FROM (VALUES
  ('binance', 'all', TIMESTAMPTZ '2019-09-13 00:00Z', TIMESTAMPTZ '2021-04-27 00:00Z', 'full',
   'full: every order, at once'),
  ('binance', 'all', TIMESTAMPTZ '2021-04-27 00:00Z', NULL, 'sampled',
   'sampled: the latest order per contract and second'),
  ('bybit', 'all', TIMESTAMPTZ '2021-09-01 00:00Z', TIMESTAMPTZ '2025-02-26 00:00Z', 'sampled',
   'sampled: about one order per contract and second (unproven)'),
  ('bybit', 'all', TIMESTAMPTZ '2025-02-26 00:00Z', NULL, 'full',
   'full: every liquidation, each 0.5 s'),
  ('okx', 'all', TIMESTAMPTZ '2021-01-01 00:00Z', NULL, 'sampled',
   'sampled: at the most one order per contract and second'),
  ('gate', 'all', TIMESTAMPTZ '2025-02-19 00:00Z', NULL, 'sampled',
   'sampled: at the most one order per contract and second, since 2025-02-19'),
  ('htx', 'all', TIMESTAMPTZ '2020-01-01 00:00Z', NULL, 'unknown',
   'unknown: no limit is documented'),
  ('bitget', 'all', TIMESTAMPTZ '2020-01-01 00:00Z', NULL, 'unknown',
   'unknown: no limit is documented'),
  ('aster', 'all', TIMESTAMPTZ '2020-01-01 00:00Z', NULL, 'unknown',
   'unknown: as Binance''s protocol, which sends the latest order per contract and second'),
  ('deribit', 'all', TIMESTAMPTZ '2020-01-01 00:00Z', NULL, 'full',
   'full: every trade carries its mark'),
  ('bitfinex', 'all', TIMESTAMPTZ '2020-01-01 00:00Z', NULL, 'full',
   'full: every trigger and every match'),
  ('kraken', 'all', TIMESTAMPTZ '2020-01-01 00:00Z', NULL, 'full',
   'full: every trade carries its type'),
  ('dydx', 'all', TIMESTAMPTZ '2023-10-26 00:00Z', NULL, 'full',
   'full: every trade carries its type'),
  ('hyperliquid', 'all', TIMESTAMPTZ '2023-01-01 00:00Z', NULL, 'partial',
   'partial: what the liquidator vault takes over; market liquidations are not published')
) AS e(venue, market, from_time, to_time, class, rule)
