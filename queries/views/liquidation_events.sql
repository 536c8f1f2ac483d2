-- name: liquidation_events
-- title: All liquidations that count, of exchanges and of lending protocols, with the same columns
-- param: p_since TIMESTAMPTZ = NULL  start; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  end, exclusive; null: the newest row stored
-- column: origin text exchange or chain
-- column: venue text exchange, or protocol family
-- column: market text market of the venue, or of the protocol
-- column: symbol text contract as the venue writes it; chain: collateral/debt
-- column: asset text coin that is priced, without what multiplies it in the contract; chain: the collateral
-- column: side text long or short: what was liquidated; n/a on chain where neither side is a dollar token
-- column: time time when it happened: as the venue says, or the block's time
-- column: usd usd value; of a lending protocol the collateral seized, else the debt repaid; null where not known
-- column: price price price per unit of the asset: USD on chain, else in the contract's quote; null without one
-- column: price_kind text what the price is: fill, bankruptcy, order, entry, trade, unknown, or oracle
-- column: quantity amount units of the asset; null where the size is unknown
-- column: provenance text live, or demo; null on chain
-- column: delivery text stream, history, replay or chain
-- column: source text source that read it; null on chain
-- note: exchanges: see counted_liquidations; Compound III: the absorbed collateral
-- note: a contract on 1000PEPE, 1MPEPE, kPEPE or PEPE1000 counts as so many PEPE, at their price
-- note: a value above 1e18 USD is not plausible: the position has no price
-- note: on chain: long where the debt is a dollar token, short where the collateral is, else n/a
WITH bounds AS (
  SELECT since, until FROM liquidation_window(p_since := $p_since, p_until := $p_until)
), dollars AS (
  SELECT unnest(['USDC', 'USDT', 'DAI', 'GHO', 'LUSD', 'FRAX', 'CRVUSD', 'PYUSD', 'USDS', 'USDE',
                 'RLUSD', 'USDC.E', 'USDBC', 'SUSD', 'TUSD', 'USDP', 'GUSD', 'BUSD']) AS symbol
), contract AS (
  -- Venues write a coin of which a contract has many with 1000 or more before or behind it, with 1M, or with k.
  SELECT *, coalesce(CASE WHEN multiplier > 1e0
                          THEN regexp_extract(base, '^(?:10{3,6}|1M|k)?([A-Z][A-Z0-9]*?)(?:10{3,6})?$', 1) END,
                     base, symbol) AS coin
  FROM (
    SELECT *, CASE WHEN regexp_matches(base, '^10{3,6}[A-Z][A-Z0-9]*$') THEN CAST(regexp_extract(base, '^10{3,6}') AS DOUBLE)
                   WHEN regexp_matches(base, '^1M[A-Z]{3,}$') THEN 1e6
                   WHEN regexp_matches(base, '^k[A-Z]{2,}$') THEN 1e3
                   WHEN regexp_matches(base, '^[A-Z]{2,}10{3,6}$') THEN CAST(regexp_extract(base, '10{3,6}$') AS DOUBLE)
                   ELSE 1e0 END AS multiplier
    FROM counted_liquidations(p_since := (SELECT since FROM bounds), p_until := (SELECT until FROM bounds))
  ) AS sized
), chain AS (
  SELECT * FROM liquidations_on_chain(p_since := (SELECT since FROM bounds), p_until := (SELECT until FROM bounds))
), owed AS (
  -- The event of absorbed collateral names no debt; that of the debt beside it does.
  SELECT market, tx_hash, account, position, max(debt_symbol) AS symbol, max(debt_asset) AS asset
  FROM chain WHERE kind = 'absorb-debt' GROUP BY ALL
)
SELECT 'exchange' AS origin, l.venue, l.market, l.symbol, l.coin AS asset,
       l.side, l.time, CASE WHEN abs(l.notional_usd) <= 1e18 THEN l.notional_usd END AS usd,
       l.price / l.multiplier AS price, l.price_kind, l.quantity_base * l.multiplier AS quantity,
       l.provenance, l.delivery, l.source
FROM contract AS l
UNION ALL BY NAME
SELECT 'chain' AS origin, c.protocol AS venue, c.market,
       coalesce(c.coll_symbol, c.coll_asset) || '/' || coalesce(c.debt_symbol, c.debt_asset, o.symbol, o.asset, 'base')
         AS symbol,
       coalesce(c.coll_symbol, c.coll_asset) AS asset,
       CASE WHEN upper(coalesce(c.debt_symbol, o.symbol)) IN (SELECT symbol FROM dollars) THEN 'long'
            WHEN upper(c.coll_symbol) IN (SELECT symbol FROM dollars) THEN 'short'
            ELSE 'n/a' END AS side,
       c.block_time AS time, coalesce(c.coll_seized_usd, c.debt_repaid_usd) AS usd,
       c.coll_seized_usd / nullif(c.coll_seized, 0) AS price, 'oracle' AS price_kind,
       c.coll_seized AS quantity, NULL AS provenance, 'chain' AS delivery, NULL AS source
FROM chain AS c
LEFT JOIN owed AS o ON c.kind = 'absorb-collateral'
  AND o.market = c.market AND o.tx_hash = c.tx_hash AND o.account = c.account AND o.position = c.position
WHERE c.kind IN ('liquidation', 'absorb-collateral')
