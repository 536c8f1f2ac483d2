-- name: day_inputs
-- title: Inputs of each UTC day's marts: rows per table, and a digest of their keys
-- param: p_day DATE = NULL  one day; null: every day with stored rows
-- column: day date UTC day of the marts
-- column: input text table that they read; snapshots before: those that the day's are compared with
-- column: rows count rows of it that the day reads
-- column: digest id digest of the set of their keys, in hex
-- note: digest: of the set of rows; their order and their segments do not matter
WITH stored AS (
  SELECT d.day FROM stored_days() AS d WHERE $p_day IS NULL OR d.day = $p_day
), standing AS (
  SELECT s.day, s.market, s.snapshot, s.before
  FROM day_snapshots() AS s WHERE $p_day IS NULL OR s.day = $p_day
), input_of_day AS (
  SELECT s.day, 'snapshots' AS input, s.snapshot AS key FROM standing AS s
  UNION ALL
  SELECT s.day, 'snapshots before', s.before FROM standing AS s WHERE s.before IS NOT NULL
  UNION ALL
  SELECT s.day, 'verifications', concat_ws(' ', v.snapshot, v.checked, v.mismatched, epoch_us(v.verified_at))
  FROM standing AS s JOIN verifications AS v ON v.snapshot = s.snapshot
  UNION ALL
  SELECT CAST(l.block_time AS DATE), 'chain_liquidations', concat_ws(' ', l.chain_id, l.block_hash, l.log_index, l.kind)
  FROM liquidations_on_chain() AS l WHERE $p_day IS NULL OR CAST(l.block_time AS DATE) = $p_day
  UNION ALL
  SELECT CAST(l.time AS DATE), 'exchange_liquidations', concat_ws(' ', l.venue, l.market, l.symbol, epoch_us(l.time), l.event)
  FROM exchange_liquidations AS l WHERE $p_day IS NULL OR CAST(l.time AS DATE) = $p_day
  UNION ALL
  SELECT s.day, 'coverage', concat_ws(' ', c.source, c.run, epoch_us(c.from_time), epoch_us(c.to_time), c.state)
  FROM stored AS s JOIN coverage AS c
    ON c.from_time < CAST(s.day + 1 AS TIMESTAMPTZ) AND c.to_time > CAST(s.day AS TIMESTAMPTZ)
), input_so_far AS (
  -- Of these tables a day's marts read all rows that were known at its end.
  SELECT CAST(c.known_at AS DATE) AS day, 'candles' AS input,
         concat_ws(' ', c.asset, c.venue, c.interval, epoch_us(c.time), epoch_us(c.observed_at)) AS key
  FROM candles AS c
  UNION ALL
  SELECT CAST(v.known_at AS DATE), 'indicator_values',
         concat_ws(' ', v.series, v.source, v.as_of, epoch_us(v.observed_at))
  FROM indicator_values AS v
  UNION ALL
  SELECT CAST(t.known_at AS DATE), 'statements', concat_ws(' ', t.statement, epoch_us(t.observed_at))
  FROM statements AS t
  UNION ALL
  SELECT CAST(b.time AS DATE), 'depths', concat_ws(' ', b.venue, b.symbol, b.kind, epoch_us(b.time), b.side, b.distance)
  FROM depths AS b
), input_so_far_by_day AS (
  SELECT k.day, k.input, count(*) AS rows, bit_xor(md5_number_lower(k.key)) AS digest FROM input_so_far AS k GROUP BY ALL
), summed AS (
  SELECT o.day, o.input, count(*) AS rows, bit_xor(md5_number_lower(o.key)) AS digest FROM input_of_day AS o GROUP BY ALL
  UNION ALL
  SELECT s.day, k.input, sum(k.rows), bit_xor(k.digest) FROM stored AS s JOIN input_so_far_by_day AS k ON k.day <= s.day GROUP BY ALL
)
SELECT m.day, m.input, CAST(m.rows AS BIGINT) AS rows, lower(hex(m.digest)) AS digest
FROM summed AS m
ORDER BY m.day, m.input
