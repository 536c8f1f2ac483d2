-- name: in_no_sum
-- title: Accounts that the sums of a wall leave out, by reason
-- param: p_factor TEXT = 'BTC'  which factor moves, or MARKET
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block not later than this; null: newest of all
-- note: missing: all = in no sum; part = paused: liquidatable, but the reserve of the largest collateral or debt is paused: at risk, and nothing of it seizable now; full close …: the first call is counted, what the full close factor adds is not
WITH unplaced AS (
  SELECT market, debt_usd, CASE way WHEN 'outside' THEN 'all' ELSE 'part' END AS missing,
         CASE WHEN way = 'outside' THEN 'trigger where prices are not linear'
              WHEN way = 'now' AND paused THEN 'paused'
              ELSE 'full close where prices are not linear' END AS reason
  FROM triggers(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of)
  WHERE way = 'outside' OR (way = 'now' AND paused)
     OR (full_outside AND close_rule IN ('reserve-half', 'position-half'))
)
SELECT market, missing, reason, accounts, debt_usd
FROM unvalued(p_market := $p_market, p_as_of := $p_as_of, p_owing := true)
UNION ALL
SELECT market, missing, reason, count(*) AS accounts, sum(debt_usd) AS debt_usd
FROM unplaced
GROUP BY market, missing, reason
ORDER BY market, missing, reason
