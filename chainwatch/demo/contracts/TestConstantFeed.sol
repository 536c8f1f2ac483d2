// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price that never moves, with the getters of Comet's constant price feed.
contract TestConstantFeed {
    uint256 public constant version = 1;
    string public constant description = "Constant price feed";
    uint8 public immutable decimals;
    int256 public immutable constantPrice;

    constructor(uint8 decimals_, int256 price) {
        decimals = decimals_;
        constantPrice = price;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (1, constantPrice, block.timestamp, block.timestamp, 1);
    }
}
