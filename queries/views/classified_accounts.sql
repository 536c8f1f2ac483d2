-- name: classified_accounts
-- title: Accounts of every snapshot, each in one class: the contract's verdict first, then its health factor
-- columns of: account_health snapshot market block_number account position emode status hf_wad hf liquidatable blocked_reason collateral_usd debt_usd read_block
-- column: class index 1 liquidatable, 2 to 9 by health factor, 10 no debt, 11 n/a
-- note: class: 1 liquidatable, whatever the health factor; not liquidatable: 2 below 1.02 (below 1 too), 3 below 1.05, 4 below 1.1, 5 below 1.25, 6 below 1.5, 7 below 2, 8 below 3, 9 from 3 on; 10 no debt; 11 n/a
-- note: near: classes 2 and 3
-- portable: yes
SELECT snapshot, market, block_number, account, position, emode, status, hf_wad, hf, liquidatable, blocked_reason,
       collateral_usd, debt_usd, read_block,
       CASE WHEN status = 'no debt' THEN 10
            WHEN status <> 'ok' THEN 11
            WHEN coalesce(liquidatable, hf_wad < 1000000000000000000) THEN 1
            WHEN hf < 1.02e0 THEN 2 WHEN hf < 1.05e0 THEN 3 WHEN hf < 1.1e0 THEN 4
            WHEN hf < 1.25e0 THEN 5 WHEN hf < 1.5e0 THEN 6 WHEN hf < 2e0 THEN 7
            WHEN hf < 3e0 THEN 8 ELSE 9 END AS class
FROM account_health
