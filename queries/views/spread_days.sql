-- name: spread_days
-- title: SOFR less what the Fed pays on reserves, per day, in basis points
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: as_of date day of SOFR
-- column: sofr figure secured overnight financing rate, %
-- column: paid figure rate that the Fed pays on reserves, %; null where none of the seven days before is stored
-- column: administered_rate text series of that rate: ioer or iorb; null without any before
-- column: administered_rate_as_of date day of that rate; null without any before
-- column: spread_bp bps SOFR less that rate; null where it is n/a
-- column: month_end flag one of the last two days or the first day of a month, of the days with a rate
-- column: source text source of SOFR
-- column: administered_rate_source text source of the other rate; null without one
-- column: provenance text where SOFR comes from; sample where one of the two is
-- column: known_at time when both rates were known
-- column: observed_at time when this version of SOFR was first observed here
-- note: the Fed's rate is IOER up to 2021-07-28 and IORB from then on, the newest of the seven days up to the day
WITH indicator AS (
  SELECT * FROM indicators_at(p_known_at := $p_known_at) WHERE series IN ('sofr', 'iorb', 'ioer')
), sofr AS (
  SELECT * FROM indicator WHERE series = 'sofr' AND as_of >= DATE '2018-04-02'
), paid AS (
  SELECT * FROM indicator
  WHERE (series = 'ioer' AND as_of < DATE '2021-07-29') OR (series = 'iorb' AND as_of >= DATE '2021-07-29')
), joined AS (
  SELECT s.as_of, s.value AS sofr, p.value AS paid, p.series AS administered_rate, p.as_of AS administered_rate_as_of,
         s.source, p.source AS administered_rate_source, s.known_at AS sofr_known_at, p.known_at AS administered_rate_known_at,
         s.observed_at,
         CASE WHEN 'sample' IN (s.provenance, p.provenance) THEN 'sample' ELSE s.provenance END AS provenance
  FROM sofr AS s ASOF LEFT JOIN paid AS p ON s.as_of >= p.as_of
)
SELECT as_of, sofr,
       CASE WHEN administered_rate_as_of >= as_of - INTERVAL 7 DAY THEN paid END AS paid, administered_rate, administered_rate_as_of,
       CASE WHEN administered_rate_as_of >= as_of - INTERVAL 7 DAY THEN round(100 * (sofr - paid), 6) END AS spread_bp,
       month(as_of) <> month(after) OR month(after) <> month(after_next) OR month(before) <> month(as_of) AS month_end,
       source, administered_rate_source, provenance, greatest(sofr_known_at, administered_rate_known_at) AS known_at, observed_at
FROM (
  -- The days before and after: those that have a rate, else weekdays.
  SELECT j.*, coalesce(lag(j.as_of) OVER day, w.before) AS before,
         coalesce(lead(j.as_of) OVER day, w.after) AS after,
         coalesce(lead(j.as_of, 2) OVER day,
                  CASE WHEN lead(j.as_of) OVER day IS NULL THEN w.after_next ELSE lead(w.after) OVER day END) AS after_next
  FROM joined AS j
  JOIN (
    SELECT as_of, CAST(as_of - CASE isodow(as_of) WHEN 1 THEN INTERVAL 3 DAY ELSE INTERVAL 1 DAY END AS DATE) AS before,
           CAST(as_of + CASE isodow(as_of) WHEN 5 THEN INTERVAL 3 DAY ELSE INTERVAL 1 DAY END AS DATE) AS after,
           CAST(as_of + CASE WHEN isodow(as_of) >= 4 THEN INTERVAL 4 DAY ELSE INTERVAL 2 DAY END AS DATE) AS after_next
    FROM joined
  ) AS w ON w.as_of = j.as_of
  WINDOW day AS (ORDER BY j.as_of)
) AS followed
