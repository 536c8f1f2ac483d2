-- name: mart_feeds
-- title: How long each exchange feed was up, partial, stale, rejecting or down
-- param: p_since TIMESTAMPTZ = '1970-01-01 00:00:00+00'  beginning of the day
-- param: p_until TIMESTAMPTZ = '9999-01-01 00:00:00+00'  end of the day, exclusive
-- column: source text source
-- column: venue text venue
-- column: state text up, partial, stale, rejecting, down or off
-- column: seconds seconds seconds of the day in that state
-- column: intervals count intervals in that state
-- column: sampling_class text what the venue publishes: full, sampled, partial or unknown
-- column: sampling_rule text the same in words
SELECT source, venue, state,
       sum(date_diff('microsecond', greatest(from_time, $p_since), least(to_time, $p_until))) / 1e6 AS seconds,
       count(*) AS intervals, arg_max(sampling_class, to_time) AS sampling_class,
       arg_max(sampling_rule, to_time) AS sampling_rule
FROM coverage
WHERE from_time < $p_until AND to_time > $p_since
GROUP BY ALL
ORDER BY source, state, venue
