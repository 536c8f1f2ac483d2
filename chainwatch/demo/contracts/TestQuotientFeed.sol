// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// One feed over another, with the getters of Comet's reverse multiplicative price feed.
contract TestQuotientFeed {
    uint256 public constant VERSION = 1;
    TestFeed public immutable priceFeedA;
    TestFeed public immutable priceFeedB;
    int256 public immutable priceFeedAScale;
    int256 public immutable priceFeedBScale;
    int256 public immutable priceFeedScale;
    uint8 public immutable decimals;
    string public description;

    constructor(TestFeed a, TestFeed b, uint8 decimals_, string memory description_) {
        priceFeedA = a;
        priceFeedB = b;
        priceFeedAScale = int256(10 ** a.decimals());
        priceFeedBScale = int256(10 ** b.decimals());
        priceFeedScale = int256(10 ** decimals_);
        decimals = decimals_;
        description = description_;
    }

    function version() external pure returns (uint256) {
        return VERSION;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (, int256 a,,,) = priceFeedA.latestRoundData();
        (uint80 round, int256 b, uint256 started, uint256 updated, uint80 answered) = priceFeedB.latestRoundData();
        if (a <= 0 || b <= 0) return (round, 0, started, updated, answered);
        return (round, (a * priceFeedBScale * priceFeedScale) / b / priceFeedAScale, started, updated, answered);
    }
}
