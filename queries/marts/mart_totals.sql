-- name: mart_totals
-- title: Each market in one row: accounts, collateral, debt, what is liquidatable, bad debt
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- column: protocol text protocol family
-- column: block_number block block everything was read at
-- column: accounts count accounts in the snapshot
-- column: accounts_failed count accounts whose figures are n/a
-- column: collateral_usd usd collateral of all accounts with figures, USD; null where that of none is known, as in all sums
-- column: debt_usd usd debt of all accounts with figures, USD
-- column: accounts_liquidatable count accounts that may be liquidated, as the contract says
-- column: liquidatable_usd usd their debt in USD
-- column: near_usd usd debt of accounts that are not liquidatable and have a health factor below 1.05, USD
-- column: bad_debt_usd usd debt above the collateral of its account, USD
SELECT s.market, s.protocol, s.block_number, s.accounts, s.accounts_failed,
       CASE WHEN count(a.account) = 0 THEN 0e0 ELSE sum(a.collateral_usd) END AS collateral_usd,
       CASE WHEN count(a.account) = 0 THEN 0e0 ELSE sum(a.debt_usd) END AS debt_usd,
       count(*) FILTER (a.class = 1) AS accounts_liquidatable,
       CASE WHEN count(*) FILTER (a.class = 1) = 0 THEN 0e0
            ELSE sum(a.debt_usd) FILTER (a.class = 1) END AS liquidatable_usd,
       CASE WHEN count(*) FILTER (a.class IN (2, 3)) = 0 THEN 0e0
            ELSE sum(a.debt_usd) FILTER (a.class IN (2, 3)) END AS near_usd,
       CASE WHEN count(a.account) = 0 THEN 0e0
            ELSE sum(CASE WHEN a.debt_usd > a.collateral_usd THEN a.debt_usd - a.collateral_usd
                          WHEN a.debt_usd <= a.collateral_usd THEN 0e0 END) END AS bad_debt_usd
FROM snapshots_at(p_as_of := $p_as_of) AS s
LEFT JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
GROUP BY ALL
ORDER BY s.market
