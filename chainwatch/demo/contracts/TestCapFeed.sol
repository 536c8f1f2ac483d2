// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A stablecoin's price with a cap above, with the getters of Aave's adapter for it.
contract TestCapFeed {
    TestFeed public immutable ASSET_TO_USD_AGGREGATOR;
    address public immutable ACL_MANAGER;
    uint8 public immutable decimals;
    string public description;
    int256 internal cap;

    constructor(TestFeed feed, int256 cap_, string memory description_) {
        ASSET_TO_USD_AGGREGATOR = feed;
        ACL_MANAGER = msg.sender;
        decimals = feed.decimals();
        cap = cap_;
        description = description_;
    }

    function getPriceCap() external view returns (int256) {
        return cap;
    }

    function isCapped() external view returns (bool) {
        return ASSET_TO_USD_AGGREGATOR.latestAnswer() > cap;
    }

    function latestAnswer() external view returns (int256) {
        int256 answer = ASSET_TO_USD_AGGREGATOR.latestAnswer();
        if (answer > cap) return cap;
        return answer > 0 ? answer : int256(0);
    }

    function setPriceCap(int256 cap_) external {
        cap = cap_;
    }
}
