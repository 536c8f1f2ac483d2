// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A vault's rate that anyone may set.
contract TestVaultRate {
    uint8 public constant decimals = 18;
    uint256 internal rate = 1e18;

    function setRate(uint256 rate_) external {
        rate = rate_;
    }

    function convertToAssets(uint256 shares) external view returns (uint256) {
        return (shares * rate) / 1e18;
    }
}

/// A feed times a vault's rate, with the getters of Comet's price feed for ERC-4626 vaults.
contract TestVaultFeed {
    uint256 public constant VERSION = 1;
    TestVaultRate public immutable rateProvider;
    TestFeed public immutable underlyingPriceFeed;
    int256 public immutable combinedScale;
    int256 public immutable priceFeedScale;
    uint8 public immutable decimals;
    string public description;

    constructor(TestFeed feed, uint8 decimals_, string memory description_) {
        rateProvider = new TestVaultRate();
        underlyingPriceFeed = feed;
        combinedScale = int256(10 ** (18 + feed.decimals()));
        priceFeedScale = int256(10 ** decimals_);
        decimals = decimals_;
        description = description_;
    }

    function version() external pure returns (uint256) {
        return VERSION;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        int256 rate = int256(rateProvider.convertToAssets(1e18));
        (uint80 round, int256 answer, uint256 started, uint256 updated, uint80 answered) =
            underlyingPriceFeed.latestRoundData();
        return (round, (rate * answer * priceFeedScale) / combinedScale, started, updated, answered);
    }
}
