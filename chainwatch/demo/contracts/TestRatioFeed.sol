// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// The price of a staking token: a base feed times a ratio that anyone may set. The getters carry
/// the names of Aave's price adapters for such tokens; this contract is its own ratio provider.
contract TestRatioFeed {
    TestFeed public immutable BASE_TO_USD_AGGREGATOR;
    address public immutable RATIO_PROVIDER;
    uint8 public immutable RATIO_DECIMALS;
    uint8 public immutable DECIMALS;
    int256 public getRatio;
    string public description;

    constructor(TestFeed base, int256 ratio, uint8 ratioDecimals, string memory description_) {
        BASE_TO_USD_AGGREGATOR = base;
        RATIO_PROVIDER = address(this);
        RATIO_DECIMALS = ratioDecimals;
        DECIMALS = base.decimals();
        getRatio = ratio;
        description = description_;
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function setRatio(int256 ratio) external {
        getRatio = ratio;
    }

    function latestAnswer() external view returns (int256) {
        return (BASE_TO_USD_AGGREGATOR.latestAnswer() * getRatio) / int256(10 ** RATIO_DECIMALS);
    }
}
