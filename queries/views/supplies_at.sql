-- name: supplies_at
-- title: Tokens per chain at the newest day of each kind of evidence: the newest version known
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'all'  one token, or all
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that counted as known at this time; null: all
-- columns of: supplies
SELECT * EXCLUDE (load, day) FROM supplies
WHERE ($p_token = 'all' OR lower(token) = lower($p_token))
  AND ($p_known_at IS NULL OR known_at <= $p_known_at)
QUALIFY row_number() OVER (PARTITION BY token, chain, kind, as_of
                           ORDER BY provenance = 'reference', known_at DESC, observed_at DESC) = 1
    AND dense_rank() OVER (PARTITION BY token, kind, CASE WHEN kind = 'contract' THEN chain END
                           ORDER BY as_of DESC) = 1
