-- name: indicators_at
-- title: Each indicator's value per day: newest version known, from the first source that has one
-- needs: known_at(p_known_at), provenance
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that counted as known at this time; null: all
-- columns of: indicator_values series as_of value source provenance published_at published_basis known_at observed_at document
SELECT v.series, v.as_of, v.value, v.source, v.provenance, v.published_at, v.published_basis,
       v.known_at, v.observed_at, v.document
FROM indicator_values AS v
JOIN series() AS s ON s.series = v.series AND s.source = v.source
WHERE $p_known_at IS NULL OR v.known_at <= $p_known_at
QUALIFY row_number() OVER (PARTITION BY v.series, v.as_of
                           ORDER BY s.rank, v.known_at DESC, v.observed_at DESC) = 1
