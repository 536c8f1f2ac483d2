// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price that never moves, with the getter names of Aave's fixed-price adapter.
contract TestFixedFeed {
    int256 public immutable price;
    uint8 public immutable decimals;
    string public description;

    constructor(int256 price_, uint8 decimals_, string memory description_) {
        price = price_;
        decimals = decimals_;
        description = description_;
    }

    function latestAnswer() external view returns (int256) {
        return price;
    }
}
