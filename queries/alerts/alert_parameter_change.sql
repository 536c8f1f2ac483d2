-- name: alert_parameter_change
-- title: A parameter of a market is not what it was at the snapshot before
-- once: yes
SELECT market || ' ' || asset || ' ' || parameter || ' ' || after_block AS subject, 'raise' AS state,
       printf('%s on %s: %s was %s and is %s', symbol, market, parameter,
              coalesce(before, 'not there'), coalesce(after, 'gone')) AS message, NULL::DOUBLE AS value
FROM mart_parameter_changes()
