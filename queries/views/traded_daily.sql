-- name: traded_daily
-- title: Units of a factor traded in a day on the venues whose books are known
-- param: p_factor TEXT = 'BTC'  what is traded
-- param: p_as_of TIMESTAMPTZ = NULL  newest books not later than this; null: newest of all
-- param: p_max_age DOUBLE = NULL  leave out books older than this many seconds
-- note: units: null where no venue states it; venues that do not are left out: a lower bound
SELECT sum(volume_24h) AS units, count(volume_24h) AS venues
FROM (
  SELECT venue, symbol, kind, max(volume_24h) AS volume_24h
  FROM depth_at(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age)
  GROUP BY venue, symbol, kind
) AS each
