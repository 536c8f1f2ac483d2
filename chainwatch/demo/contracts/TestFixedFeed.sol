// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price that moves only when it is set, with the getters of Aave's fixed-price adapter.
contract TestFixedFeed {
    address public immutable ACL_MANAGER;
    uint8 public immutable DECIMALS;
    int256 public price;
    string public description;

    constructor(int256 price_, uint8 decimals_, string memory description_) {
        ACL_MANAGER = msg.sender;
        DECIMALS = decimals_;
        price = price_;
        description = description_;
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function latestAnswer() external view returns (int256) {
        return price;
    }

    function setPrice(int256 price_) external {
        price = price_;
    }
}
