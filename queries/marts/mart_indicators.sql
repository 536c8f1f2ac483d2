-- name: mart_indicators
-- title: Market indicators: the newest value known that day
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- columns of: indicators() series title value unit as_of state source provenance known_at
SELECT series, title, value, unit, as_of, state, source, provenance, known_at
FROM indicators(p_known_at := $p_known_at)
