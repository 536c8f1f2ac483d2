// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A price kept in storage, as it was when it was last poked: no other contract is asked.
contract TestCachedFeed {
    TestFeed internal immutable source;
    int256 public latestAnswer;
    uint8 public immutable decimals;
    string public description;

    constructor(TestFeed source_, string memory description_) {
        source = source_;
        decimals = source_.decimals();
        description = description_;
        poke();
    }

    function poke() public {
        latestAnswer = source.latestAnswer();
    }
}
