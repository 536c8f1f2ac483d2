-- name: mart_indicators
-- title: Market indicators: the newest value known that day
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- column: series text name of the series
-- column: title text what it measures
-- column: value figure newest value; null where there is none
-- column: unit text unit of the value
-- column: as_of date day the value is of
-- column: state text fresh, STALE, ended or n/a with the reason
-- column: source text source that delivered it
-- column: provenance text where the figure comes from
-- column: known_at time when it became known
SELECT series, title, value, unit, as_of, state, source, provenance, known_at
FROM indicators(p_known_at := $p_known_at)
