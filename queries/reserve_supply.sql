-- name: reserve_supply
-- title: Tokens against liabilities: each deduction from all tokens, and the unexplained rest
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'USDT'  token
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: evidence text evidence that the sum is of: issuer page, fund file, attestation or on chain
-- column: kind text kind of disclosure, or contract
-- column: term text what is added or deducted
-- column: amount amount tokens, or USD at redemption as note says; a deduction is negative
-- column: as_of date day the figure describes
-- column: age_seconds seconds whole days since as_of, at p_known_at or now
-- column: note text what the term is made of; may be empty
-- column: source text source that read it
-- column: origin text source, or SAMPLE for invented figures
-- column: provenance text where the figure comes from
-- column: observed_at time when its newest version was first observed here
-- show: evidence term amount as_of age_seconds=age note origin=source
-- note: each kind of evidence has its own sum; lines that compare two kinds say so, with the day of each
-- note: the report counts a token as 0.999 USD, after the redemption fee of 10 bp
WITH chain AS (
  SELECT * FROM supplies_at(p_token := $p_token, p_known_at := $p_known_at)
), all_tokens AS (
  SELECT token, kind, evidence, as_of, any_value(unit) AS unit, sum(CAST(authorized AS DOUBLE)) AS authorized,
         sum(CAST(not_issued AS DOUBLE)) AS not_issued, sum(CAST(quarantined AS DOUBLE)) AS quarantined,
         sum(CAST(held AS DOUBLE)) AS held, sum(CAST(other AS DOUBLE)) AS other,
         sum(CAST(circulating AS DOUBLE)) AS circulating,
         sum(CAST(circulating AS DOUBLE)) FILTER (NOT listed) AS unlisted, count(*) AS chains,
         count(*) FILTER (NOT listed) AS unlisted_chains,
         string_agg(chain, ', ' ORDER BY chain) FILTER (NOT listed) AS unlisted_names,
         string_agg(chain, ', ' ORDER BY chain) AS names,
         any_value(source) AS source, any_value(provenance) AS provenance, max(observed_at) AS observed_at
  FROM chain WHERE kind <> 'contract' GROUP BY token, kind, evidence, as_of
), stated AS (
  SELECT w.*, CAST(s.liabilities AS DOUBLE) AS liabilities, CAST(s.assets AS DOUBLE) AS assets, s.document
  FROM all_tokens AS w
  LEFT JOIN statements_at(p_token := $p_token, p_known_at := $p_known_at) AS s
    ON s.kind = w.kind AND s.as_of = w.as_of
), term AS (
  SELECT kind, evidence, 1 AS n, 'tokens that exist' AS term, authorized AS amount, as_of,
         CASE WHEN unit = 'tokens' THEN chains || ' chains' ELSE 'as ' || unit END AS note, source, provenance, observed_at FROM stated
  UNION ALL SELECT kind, evidence, 2, '- authorised, not issued', -not_issued, as_of, 'in the treasury', source, provenance, observed_at FROM stated
  UNION ALL SELECT kind, evidence, 3, '- quarantined', -quarantined, as_of, 'frozen for good', source, provenance, observed_at FROM stated
  UNION ALL SELECT kind, evidence, 4, '- held by the issuer', -held, as_of, 'outside its treasury', source, provenance, observed_at FROM stated
  UNION ALL SELECT kind, evidence, 5, '- other deductions', -other, as_of, '', source, provenance, observed_at FROM stated
  UNION ALL SELECT kind, evidence, 6, '= in circulation', circulating, as_of,
                   CASE WHEN authorized IS NULL THEN 'as stated' ELSE '' END, source, provenance, observed_at FROM stated
  UNION ALL SELECT kind, evidence, 7, 'of it on chains not listed', unlisted, as_of, unlisted_names, source, provenance, observed_at
            FROM stated WHERE unlisted_chains > 0
  UNION ALL SELECT kind, evidence, 8, 'liabilities as stated', liabilities, as_of, '', source, provenance, observed_at FROM stated WHERE liabilities IS NOT NULL
  UNION ALL SELECT kind, evidence, 9, 'liabilities - circulation', liabilities - circulating, as_of,
                   CASE WHEN abs(liabilities - circulating) < 1 THEN 'nothing unexplained' ELSE 'not for tokens, or unexplained' END,
                   source, provenance, observed_at FROM stated WHERE liabilities IS NOT NULL
), contract AS (
  SELECT c.chain, CAST(c.circulating AS DOUBLE) AS ours, CAST(p.circulating AS DOUBLE) AS page,
         c.as_of, p.as_of AS page_as_of, c.block_number, c.source, c.provenance, c.observed_at
  FROM chain AS c
  LEFT JOIN chain AS p ON p.kind <> 'contract' AND p.evidence = 'issuer page' AND lower(p.chain) = lower(c.chain)
  WHERE c.kind = 'contract'
)
SELECT evidence, kind, term, amount, as_of,
       86400 * date_diff('day', as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       note, source, CASE provenance WHEN 'sample' THEN 'SAMPLE' ELSE source END AS origin, provenance, observed_at
FROM (
  SELECT evidence, kind, n, term, amount, as_of, note, source, provenance, observed_at FROM term WHERE amount IS NOT NULL
  UNION ALL
  SELECT 'on chain', 'contract', 20, 'circulating on ' || chain, ours, as_of, 'block ' || block_number, source, provenance, observed_at FROM contract
  UNION ALL
  SELECT 'on chain', 'contract', 21, 'less the page''s ' || chain, ours - page, as_of,
         'clock difference: page of ' || CAST(page_as_of AS VARCHAR), source, provenance, observed_at
  FROM contract WHERE page IS NOT NULL
) AS listed
ORDER BY kind = 'contract', evidence, kind, n, term
