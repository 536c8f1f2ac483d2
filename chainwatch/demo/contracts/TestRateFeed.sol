// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A token with an exchange rate that anyone may set, under two names: one that adapters know
/// (Rocket Pool's) and one that nobody lists.
contract TestRateToken {
    uint256 internal rate;

    constructor(uint256 rate_) {
        rate = rate_;
    }

    function getExchangeRate() external view returns (uint256) {
        return rate;
    }

    function setRate(uint256 rate_) external {
        rate = rate_;
    }
}

contract TestUnlistedRate {
    uint256 internal value;

    constructor(uint256 value_) {
        value = value_;
    }

    function somethingNobodyLists() external view returns (uint256) {
        return value;
    }

    function setRate(uint256 value_) external {
        value = value_;
    }
}

/// A stand-in for Spark's exchange-rate oracles: the price of ETH times a token's rate, with the
/// getter `ethSource` and no description.
contract TestRateFeed {
    TestRateToken public immutable token;
    TestUnlistedRate public immutable unlisted;
    TestFeed public immutable ethSource;
    uint8 public constant decimals = 8;

    constructor(uint256 rate, TestFeed ethSource_, bool listed) {
        if (listed) token = new TestRateToken(rate);
        else unlisted = new TestUnlistedRate(rate);
        ethSource = ethSource_;
    }

    function latestAnswer() external view returns (int256) {
        int256 eth = ethSource.latestAnswer();
        uint256 rate =
            address(token) != address(0) ? token.getExchangeRate() : unlisted.somethingNobodyLists();
        if (eth <= 0 || rate == 0) return 0;
        return eth * int256(rate) / 1e18;
    }

    function setRate(uint256 rate) external {
        if (address(token) != address(0)) token.setRate(rate);
        else unlisted.setRate(rate);
    }
}
