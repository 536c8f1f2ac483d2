// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// The price of a staking token: a base feed times a ratio that anyone may set, which counts up to
/// a cap that grows. The getters are those of Aave's adapters for such tokens; this contract is its
/// own ratio provider, and its snapshot is a month older than itself.
contract TestRatioFeed {
    uint256 public constant PERCENTAGE_FACTOR = 1e4;
    uint256 public constant SCALING_FACTOR = 1e6;
    uint256 public constant SECONDS_PER_YEAR = 365 days;

    int256 public getRatio;
    TestFeed public immutable BASE_TO_USD_AGGREGATOR;
    address public immutable ACL_MANAGER;
    address public immutable RATIO_PROVIDER;
    uint8 public immutable DECIMALS;
    uint8 public immutable RATIO_DECIMALS;
    uint256 public immutable getSnapshotRatio;
    uint256 public immutable getSnapshotTimestamp;
    uint256 public immutable getMaxYearlyGrowthRatePercent;
    uint256 public immutable getMaxRatioGrowthPerSecondScaled;
    string public description;

    /// `growth` is what the ratio may gain in a year, in bps.
    constructor(TestFeed base, int256 ratio, uint8 ratioDecimals, uint256 growth, string memory description_) {
        BASE_TO_USD_AGGREGATOR = base;
        ACL_MANAGER = msg.sender;
        RATIO_PROVIDER = address(this);
        DECIMALS = base.decimals();
        RATIO_DECIMALS = ratioDecimals;
        getRatio = ratio;
        getSnapshotRatio = uint256(ratio);
        getSnapshotTimestamp = block.timestamp - 30 days;
        getMaxYearlyGrowthRatePercent = growth;
        getMaxRatioGrowthPerSecondScaled =
            (uint256(ratio) * growth * SCALING_FACTOR) / PERCENTAGE_FACTOR / SECONDS_PER_YEAR;
        description = description_;
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function getMaxRatioGrowthPerSecond() external view returns (uint256) {
        return getMaxRatioGrowthPerSecondScaled / SCALING_FACTOR;
    }

    function isCapped() external view returns (bool) {
        return getRatio > maxRatio();
    }

    function latestAnswer() external view returns (int256) {
        int256 base = BASE_TO_USD_AGGREGATOR.latestAnswer();
        int256 ratio = getRatio;
        if (base <= 0 || ratio <= 0) return 0;
        if (ratio > maxRatio()) ratio = maxRatio();
        return (base * ratio) / int256(10 ** RATIO_DECIMALS);
    }

    function setRatio(int256 ratio) external {
        getRatio = ratio;
    }

    function maxRatio() internal view returns (int256) {
        uint256 elapsed = block.timestamp - getSnapshotTimestamp;
        return int256(getSnapshotRatio + (getMaxRatioGrowthPerSecondScaled * elapsed) / SCALING_FACTOR);
    }
}
