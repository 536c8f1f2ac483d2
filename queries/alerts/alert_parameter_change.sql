-- name: alert_parameter_change
-- title: A parameter of a market changed since the snapshot before
-- param: p_now TIMESTAMPTZ = NULL  time of the run
-- param: p_days DOUBLE = 7.0  ignore changes of older snapshots
-- column: subject text market, asset, parameter and block of the change
-- column: state text raise
-- column: message text one line for people: what the parameter was and is
-- column: value figure always null
-- once: yes
SELECT c.market || ' ' || c.asset || ' ' || c.parameter || ' ' || c.after_block AS subject, 'raise' AS state,
       printf('%s on %s: %s was %s and is %s', c.symbol, c.market, c.parameter,
              coalesce(c.before, 'not there'), coalesce(c.after, 'gone')) AS message, NULL::DOUBLE AS value
FROM mart_parameter_changes() AS c
JOIN snapshots_at() AS s ON s.market = c.market
WHERE epoch(coalesce($p_now, now())) - epoch(s.block_time) <= 86400 * $p_days
