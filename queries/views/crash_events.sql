-- name: crash_events
-- title: The five crashes that are compared, each with its day and its window (UTC)
-- column: event text name of the crash: its day
-- column: as_of date day of the crash, UTC
-- column: window_from time beginning of its window
-- column: window_to time end of its window, exclusive
SELECT * FROM (VALUES
  ('2020-03-12', DATE '2020-03-12', TIMESTAMPTZ '2020-03-12 00:00:00+00', TIMESTAMPTZ '2020-03-14 00:00:00+00'),
  ('2021-05-19', DATE '2021-05-19', TIMESTAMPTZ '2021-05-19 00:00:00+00', TIMESTAMPTZ '2021-05-20 00:00:00+00'),
  ('2025-10-10', DATE '2025-10-10', TIMESTAMPTZ '2025-10-10 21:00:00+00', TIMESTAMPTZ '2025-10-11 00:00:00+00'),
  ('2026-01-29', DATE '2026-01-29', TIMESTAMPTZ '2026-01-29 00:00:00+00', TIMESTAMPTZ '2026-02-01 00:00:00+00'),
  ('2026-02-05', DATE '2026-02-05', TIMESTAMPTZ '2026-02-05 00:00:00+00', TIMESTAMPTZ '2026-02-07 00:00:00+00')
) AS e(event, as_of, window_from, window_to)
