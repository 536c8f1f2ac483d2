-- name: statements_at
-- title: Each disclosure of reserves: the newest version known; a report of one's own before the shipped figures
-- param: p_token TEXT = 'all'  one token, or all
-- param: p_known_at TIMESTAMPTZ = NULL  only what counted as known then; null: everything
SELECT * EXCLUDE (load, day),
       lag(statement) OVER (PARTITION BY token, kind ORDER BY as_of) AS previous,
       row_number() OVER (PARTITION BY token, kind ORDER BY as_of DESC) AS recency
FROM (
  SELECT * FROM statements
  WHERE ($p_token = 'all' OR lower(token) = lower($p_token))
    AND ($p_known_at IS NULL OR known_at <= $p_known_at)
  QUALIFY row_number() OVER (PARTITION BY token, kind, as_of
                             ORDER BY provenance = 'reference', known_at DESC, observed_at DESC) = 1
) AS newest
