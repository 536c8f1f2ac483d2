-- name: alert_reserve_drift
-- title: A class of a stablecoin's reserve moved by more than so many points since the disclosure before
-- param: p_points DOUBLE = 5.0  percentage points
-- once: yes
SELECT token || ' ' || asset_class || ' ' || kind || ' ' || as_of AS subject, 'raise' AS state,
       printf('%s: %s moved by %.1f points to %.1f %% of the reserve on %s', token, asset_class, points,
              100 * total_share, CAST(as_of AS VARCHAR)) AS message, points AS value
FROM reserve_drift(p_points := $p_points)
QUALIFY as_of = max(as_of) OVER (PARTITION BY token, kind)
