// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price that stands in the code, with the getters of Aave's fixed adapter for REP.
contract TestCodeFeed {
    uint8 public constant DECIMALS = 18;
    string public constant DESCRIPTION = "REP / ETH";
    int256 public constant PRICE = 462569569300000;

    function decimals() external pure returns (uint8) {
        return DECIMALS;
    }

    function description() external pure returns (string memory) {
        return DESCRIPTION;
    }

    function latestAnswer() external pure returns (int256) {
        return PRICE;
    }
}
