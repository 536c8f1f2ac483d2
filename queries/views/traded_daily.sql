-- name: traded_daily
-- title: Units of a factor traded per day on the venues with stored order books
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor that is traded
-- param: p_as_of TIMESTAMPTZ = NULL  newest order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- column: units amount units of the factor traded in 24 hours, a lower bound; null where no venue states it
-- column: venues count venues that state it
-- note: units: a lower bound, venues that do not state it are left out; null: none states it
SELECT sum(volume_24h) AS units, count(volume_24h) AS venues
FROM (
  SELECT venue, symbol, kind, max(volume_24h) AS volume_24h
  FROM depth_at(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age)
  GROUP BY venue, symbol, kind
) AS each
