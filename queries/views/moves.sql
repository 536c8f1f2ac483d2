-- name: moves
-- title: Assets that one factor moves, or MARKET (all volatile ones at once), with their betas
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves; MARKET: every volatile one, by its beta
-- param: p_betas TEXT = ''  betas of factors: 'eth=1.3,xau=0.2'; without, for MARKET 1 if volatile, 0 if not, else 0
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: market text market
-- column: symbol text token symbol, a label
-- column: asset address address of the underlying token
-- column: beta multiple move of the price per move of the factor, all factors added; null where not linear
-- column: own_beta multiple part of beta that belongs to the named factor itself; 0 for MARKET
-- column: factor text factor as this market names it, or MARKET; null where the asset does not move
-- column: kind text how the factor was resolved, or index for MARKET; null where the asset does not move
-- column: factor_price price the factor's value now: USD, or of a ratio; 1 for MARKET; null where the asset does not move
-- column: unit_usd usd USD per unit of the factor; null for MARKET and where the price is divided by it
-- column: deviation fraction move of the factor, as a share, at which its feed answers anew, see factors; null for MARKET and where it is not stated
-- column: cap_x multiple multiple of the factor's value above which the price stops following it; null without a cap
-- column: floor_x multiple multiple of the factor's value below which the price stops following it; null without a floor
-- column: evidence text measured, inferred or unknown: how what moves the asset is known; null where it does not move
-- column: step fraction relative error of the price by rounding: one unit of its last decimal, or more; 0 where it is fixed
-- column: block_number block block of the snapshot
-- column: block_time time time stamp of that block
-- column: snapshot id snapshot
-- note: volatile: feeds in USD, except currencies, tokens of currencies and metals; ratios, fixed prices and unknown sources are constant unless given a beta
-- note: own_beta: part of beta that belongs to the named factor itself (none for MARKET)
-- note: betas add up where an asset's price is a product of several factors; beta is null where the price is divided by the factor or follows it in another way that is not linear
-- portable: yes
WITH asset_factor AS (
  SELECT s.snapshot, s.market, s.block_number, s.block_time, f.asset, r.symbol, r.price_usd,
         f.factor, f.kind, f.beta, f.cap_x, f.floor_x, f.evidence, f.step,
         CASE WHEN lower(f.factor) = lower($p_factor) THEN f.deviation END AS own_deviation, lower(f.factor) = lower($p_factor) AS is_own,
         CASE WHEN lower(f.factor) = lower($p_factor) THEN f.factor END AS own_factor,
         CASE WHEN lower(f.factor) = lower($p_factor) THEN f.kind END AS own_kind,
         CASE WHEN lower(f.factor) = lower($p_factor) THEN f.factor_price END AS own_price,
         CASE WHEN lower(f.factor) = lower($p_factor)
              THEN CASE f.kind WHEN 'ratio' THEN r.price_usd WHEN 'inverse' THEN NULL WHEN 'nonlinear' THEN NULL
                   ELSE f.factor_price END END AS own_unit_usd,
         lower($p_factor) = 'market' AS whole_market,
         split_part(split_part(',' || lower(replace($p_betas, ' ', '')) || ',',
                               ',' || lower(f.factor) || '=', 2), ',', 1) AS given_beta
  FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
  JOIN factors AS f ON f.snapshot = s.snapshot
  JOIN reserves AS r ON r.snapshot = f.snapshot AND r.asset = f.asset
), moving AS (
  SELECT *,
    CASE WHEN is_own AND NOT whole_market THEN 1e0
         WHEN given_beta <> '' THEN CAST(given_beta AS DOUBLE)
         WHEN NOT whole_market THEN 0e0
         WHEN kind NOT IN ('feed', 'inverse', 'nonlinear') OR factor LIKE '%/%' OR factor LIKE 'feed:%' THEN 0e0
         WHEN regexp_matches(upper(factor), 'USD|^(AG)?EUR|^DAI$|^GHO$|^FRAX$|^MIM$|^FEI$|^MAI$|^DOLA$|^BOLD$|^(GBP|CHF|JPY|AUD|CAD|SGD|NZD|CNY|KRW|BRL|MXN|TRY|ZAR|IDR|PHP|NGN|KES|XOF|COP)|^(XAU|XAG|PAXG)')
           THEN 0e0
         ELSE 1e0 END AS moved_by,
    -- The factor's price in this market; without one, the price in another market.
    coalesce(max(own_factor) OVER here, max(own_factor) OVER ()) AS named,
    coalesce(max(own_kind) OVER here, max(own_kind) OVER ()) AS named_kind,
    coalesce(max(own_price) OVER here, max(own_price) OVER ()) AS named_price,
    coalesce(max(own_deviation) OVER here, max(own_deviation) OVER ()) AS named_deviation,
    coalesce(max(own_unit_usd) OVER here, max(own_unit_usd) OVER ()) AS named_unit_usd
  FROM asset_factor
  WINDOW here AS (PARTITION BY snapshot)
)
SELECT market, symbol, asset,
       CASE WHEN max(CASE WHEN moved_by = 0e0 THEN 0 WHEN kind = 'nonlinear' THEN 2 WHEN kind = 'inverse' THEN 1
                     ELSE 0 END) < CASE WHEN sum(beta * moved_by) = 0e0 THEN 2 ELSE 1 END
            THEN sum(beta * moved_by) END AS beta,
       sum(CASE WHEN is_own AND NOT whole_market THEN beta ELSE 0e0 END) AS own_beta,
       max(CASE WHEN moved_by <> 0e0 THEN CASE WHEN whole_market THEN 'MARKET' ELSE named END END)
         AS factor,
       max(CASE WHEN moved_by <> 0e0 THEN CASE WHEN whole_market THEN 'index' ELSE named_kind END END)
         AS kind,
       max(CASE WHEN moved_by <> 0e0 THEN CASE WHEN whole_market THEN 1e0 ELSE named_price END END)
         AS factor_price,
       max(CASE WHEN moved_by <> 0e0 AND NOT whole_market THEN named_unit_usd END) AS unit_usd,
       max(CASE WHEN moved_by <> 0e0 THEN named_deviation END) AS deviation,
       min(CASE WHEN moved_by > 0e0 THEN 1e0 + (cap_x - 1e0) / moved_by END) AS cap_x,
       max(CASE WHEN moved_by > 0e0 THEN 1e0 + (floor_x - 1e0) / moved_by END) AS floor_x,
       -- Of several, the one that is known worst.
       CASE max(CASE WHEN moved_by = 0e0 THEN 0 WHEN evidence = 'measured' THEN 1 WHEN evidence = 'unknown' THEN 3 ELSE 2 END)
         WHEN 1 THEN 'measured' WHEN 2 THEN 'inferred' WHEN 3 THEN 'unknown' END AS evidence,
       max(coalesce(step, 0e0)) AS step,
       block_number, block_time, snapshot
FROM moving
GROUP BY market, symbol, asset, block_number, block_time, snapshot
