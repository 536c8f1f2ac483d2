// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// The product of two feeds, with the getter names of Comet's multiplicative price feeds.
contract TestProductFeed {
    TestFeed public immutable priceFeedA;
    TestFeed public immutable priceFeedB;
    uint8 public immutable decimals;
    string public description;

    constructor(TestFeed a, TestFeed b, uint8 decimals_, string memory description_) {
        priceFeedA = a;
        priceFeedB = b;
        decimals = decimals_;
        description = description_;
    }

    function latestAnswer() external view returns (int256) {
        int256 scale = int256(10 ** (priceFeedA.decimals() + priceFeedB.decimals()));
        return (priceFeedA.latestAnswer() * priceFeedB.latestAnswer() * int256(10 ** decimals)) / scale;
    }
}
