// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// What two feeds add up to, each with a weight in per cent, never below a floor.
contract TestSumFeed {
    TestFeed internal immutable first;
    TestFeed internal immutable second;
    int256 internal immutable weight;
    int256 internal immutable floor;
    uint8 public immutable decimals;
    string public description;

    constructor(TestFeed first_, TestFeed second_, int256 weight_, int256 floor_, string memory description_) {
        first = first_;
        second = second_;
        weight = weight_;
        floor = floor_;
        decimals = first_.decimals();
        description = description_;
    }

    function latestAnswer() external view returns (int256) {
        int256 sum = (first.latestAnswer() * weight + second.latestAnswer() * (100 - weight)) / 100;
        return sum < floor ? floor : sum;
    }
}
