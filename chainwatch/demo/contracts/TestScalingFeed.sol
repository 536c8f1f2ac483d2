// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A feed in other decimals, with the getters of Comet's scaling price feed.
contract TestScalingFeed {
    uint256 public constant version = 1;
    TestFeed public immutable underlyingPriceFeed;
    uint8 public immutable decimals;
    string public description;

    constructor(TestFeed feed, uint8 decimals_) {
        underlyingPriceFeed = feed;
        decimals = decimals_;
        description = feed.description();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (uint80 round, int256 answer, uint256 started, uint256 updated, uint80 answered) =
            underlyingPriceFeed.latestRoundData();
        uint8 from = underlyingPriceFeed.decimals();
        answer = from < decimals ? answer * int256(10 ** (decimals - from)) : answer / int256(10 ** (from - decimals));
        return (round, answer, started, updated, answered);
    }
}
