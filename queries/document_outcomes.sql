-- name: document_outcomes
-- title: Outcome of the last attempt to read each document, newest first
-- param: p_source TEXT = 'all'  one source, or all
-- param: p_limit BIGINT = NULL  most rows returned
-- columns of: documents source name outcome rows as_of fetched_at
-- column: age_seconds seconds time since it was fetched, or the attempt failed
-- column: sha256 id first eight digits of the hash; null without bytes
-- columns of: documents detail url status media_type bytes
-- column: document id sha256 of the bytes, under which they are kept; null without bytes
-- columns of: documents parser provenance
-- show: source name outcome rows as_of fetched_at age_seconds=age sha256 detail
-- note: the bytes of a document are kept under documents/ in the home folder, named by their SHA-256
SELECT source, name, outcome, rows, as_of, fetched_at,
       date_diff('second', fetched_at, now()) AS age_seconds, left(sha256, 8) AS sha256, detail,
       url, status, media_type, bytes, sha256 AS document, parser, provenance
FROM documents
WHERE $p_source = 'all' OR source = $p_source
QUALIFY row_number() OVER (PARTITION BY source, name ORDER BY fetched_at DESC) = 1
ORDER BY fetched_at DESC, source, name
LIMIT $p_limit
