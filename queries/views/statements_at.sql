-- name: statements_at
-- title: Each disclosure of reserves, newest version known; imported reports come before shipped figures
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'all'  one token, or all
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that counted as known at this time; null: all
-- columns of: statements
-- column: previous id statement of the same token and kind before this one; null for the first
-- column: recency index 1 for the newest statement of its token and kind, and so on
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
