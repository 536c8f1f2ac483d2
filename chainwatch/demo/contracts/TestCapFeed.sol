// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A stablecoin's price with a cap above, with the getter names of Aave's adapter for it.
contract TestCapFeed {
    TestFeed public immutable ASSET_TO_USD_AGGREGATOR;
    uint8 public immutable decimals;
    string public description;
    int256 internal cap;

    constructor(TestFeed feed, int256 cap_, string memory description_) {
        ASSET_TO_USD_AGGREGATOR = feed;
        decimals = feed.decimals();
        cap = cap_;
        description = description_;
    }

    function getPriceCap() external view returns (int256) {
        return cap;
    }

    function latestAnswer() external view returns (int256) {
        int256 answer = ASSET_TO_USD_AGGREGATOR.latestAnswer();
        return answer > cap ? cap : answer;
    }
}
