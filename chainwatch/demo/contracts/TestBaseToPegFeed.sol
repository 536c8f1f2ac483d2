// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// An asset's price in a peg over the base's, with the getters of Aave's adapter for it.
contract TestBaseToPegFeed {
    uint8 public constant MAX_DECIMALS = 18;
    TestFeed public immutable ASSET_TO_PEG;
    TestFeed public immutable BASE_TO_PEG;
    uint8 public immutable DECIMALS;
    string public description;

    constructor(TestFeed asset, TestFeed other, uint8 decimals_, string memory description_) {
        ASSET_TO_PEG = asset;
        BASE_TO_PEG = other;
        DECIMALS = decimals_;
        description = description_;
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function latestAnswer() external view returns (int256) {
        int256 asset = ASSET_TO_PEG.latestAnswer();
        int256 other = BASE_TO_PEG.latestAnswer();
        if (asset <= 0 || other <= 0) return 0;
        return (asset * int256(10 ** DECIMALS)) / other;
    }
}
