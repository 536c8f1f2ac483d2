-- name: mart_indicators
-- title: Market indicators: the newest value known that day
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- column: series  series
-- column: title  what it measures
-- column: value  newest value; null where there is none
-- column: unit  unit of the value
-- column: as_of  day the value is of
-- column: state  fresh, STALE, ended or n/a with the reason
-- column: source  source that delivered it
-- column: provenance  where the figure comes from
-- column: known_at  when it became known
SELECT series, title, value, unit, as_of, state, source, provenance, known_at
FROM indicators(p_known_at := $p_known_at)
