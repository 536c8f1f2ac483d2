-- name: liquidation_window
-- title: Time range of liquidations: by default the last stored day
-- param: p_since TIMESTAMPTZ = NULL  start; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  end, exclusive; null: the newest row stored
-- column: since time beginning of the range
-- column: until time end of the range, exclusive
WITH newest AS (
  SELECT greatest((SELECT max(to_time) FROM coverage),
                  (SELECT max(time) FROM exchange_liquidations) + INTERVAL 1 MICROSECOND,
                  (SELECT max(block_time) FROM liquidations_on_chain()) + INTERVAL 1 MICROSECOND)
           AS newest
)
SELECT coalesce($p_since, coalesce($p_until, newest) - INTERVAL 1 DAY) AS since,
       coalesce($p_until, newest) AS until
FROM newest
WHERE coalesce($p_until, newest) IS NOT NULL
