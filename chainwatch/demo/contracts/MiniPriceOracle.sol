// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
    function decimals() external view returns (uint8);
}

/// A stand-in for a price oracle of Compound v2: mantissas of 36 minus the token's decimals, out of
/// feeds that it names, or set by hand.
contract MiniPriceOracle {
    struct Config {
        uint8 underlyingAssetDecimals;
        address priceFeed;
    }

    mapping(address => Config) internal configs;
    mapping(address => uint256) internal set;

    function setFeed(address cToken, uint8 decimals, address feed) external {
        configs[cToken] = Config(decimals, feed);
    }

    function setPrice(address cToken, uint256 mantissa) external {
        set[cToken] = mantissa;
    }

    function getConfig(address cToken) external view returns (Config memory) {
        require(configs[cToken].priceFeed != address(0), "no feed");
        return configs[cToken];
    }

    function getUnderlyingPrice(address cToken) external view returns (uint256) {
        Config memory config = configs[cToken];
        if (config.priceFeed == address(0)) return set[cToken];
        (, int256 answer,,,) = IFeed(config.priceFeed).latestRoundData();
        require(answer >= 0, "bad price");
        uint256 scale = 36 - IFeed(config.priceFeed).decimals() - config.underlyingAssetDecimals;
        return uint256(answer) * 10 ** scale;
    }
}
