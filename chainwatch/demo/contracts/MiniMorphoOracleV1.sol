// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
    function decimals() external view returns (uint8);
}

interface IVault {
    function convertToAssets(uint256 shares) external view returns (uint256);
}

/// A stand-in for the first version of Morpho's oracle: one vault, of the collateral, under another
/// name than in the second. It is not Morpho's code.
contract MiniMorphoOracleV1 {
    address public immutable VAULT;
    uint256 public immutable VAULT_CONVERSION_SAMPLE;
    address public immutable BASE_FEED_1;
    address public immutable BASE_FEED_2;
    address public immutable QUOTE_FEED_1;
    address public immutable QUOTE_FEED_2;
    uint256 public immutable SCALE_FACTOR;

    constructor(address vault, address[4] memory feeds, uint256 sample, uint256 baseDecimals, uint256 quoteDecimals) {
        VAULT = vault;
        VAULT_CONVERSION_SAMPLE = sample;
        BASE_FEED_1 = feeds[0];
        BASE_FEED_2 = feeds[1];
        QUOTE_FEED_1 = feeds[2];
        QUOTE_FEED_2 = feeds[3];
        uint256 above = 36 + quoteDecimals + places(feeds[2]) + places(feeds[3]);
        SCALE_FACTOR = 10 ** (above - baseDecimals - places(feeds[0]) - places(feeds[1])) / sample;
    }

    function price() external view returns (uint256) {
        uint256 assets = VAULT == address(0) ? 1 : IVault(VAULT).convertToAssets(VAULT_CONVERSION_SAMPLE);
        uint256 above = assets * answer(BASE_FEED_1) * answer(BASE_FEED_2) * SCALE_FACTOR;
        return above / (answer(QUOTE_FEED_1) * answer(QUOTE_FEED_2));
    }

    function places(address feed) internal view returns (uint256) {
        return feed == address(0) ? 0 : IFeed(feed).decimals();
    }

    function answer(address feed) internal view returns (uint256) {
        if (feed == address(0)) return 1;
        (, int256 said,,,) = IFeed(feed).latestRoundData();
        require(said >= 0, "negative answer");
        return uint256(said);
    }
}
