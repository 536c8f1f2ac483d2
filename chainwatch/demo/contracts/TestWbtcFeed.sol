// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// WBTC / BTC times BTC / USD, with the getters of Comet's price feed for WBTC.
contract TestWbtcFeed {
    uint256 public constant version = 1;
    string public constant description = "Custom price feed for WBTC / USD";
    TestFeed public immutable WBTCToBTCPriceFeed;
    TestFeed public immutable BTCToUSDPriceFeed;
    int256 public immutable combinedScale;
    int256 public immutable priceFeedScale;
    uint8 public immutable decimals;

    constructor(TestFeed wrapped, TestFeed bitcoin, uint8 decimals_) {
        WBTCToBTCPriceFeed = wrapped;
        BTCToUSDPriceFeed = bitcoin;
        combinedScale = int256(10 ** (wrapped.decimals() + bitcoin.decimals()));
        priceFeedScale = int256(10 ** decimals_);
        decimals = decimals_;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (, int256 a,,,) = WBTCToBTCPriceFeed.latestRoundData();
        (uint80 round, int256 b, uint256 started, uint256 updated, uint80 answered) = BTCToUSDPriceFeed.latestRoundData();
        return (round, (a * b * priceFeedScale) / combinedScale, started, updated, answered);
    }
}
