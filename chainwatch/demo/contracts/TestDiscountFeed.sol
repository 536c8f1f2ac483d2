// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestFeed.sol";

/// A price less a discount that shrinks until maturity, with the getters of Aave's adapter for
/// Pendle's principal tokens.
contract TestDiscountFeed {
    uint256 public constant PERCENTAGE_FACTOR = 1e18;
    uint256 public constant SECONDS_PER_YEAR = 365 days;
    TestFeed public immutable ASSET_TO_USD_AGGREGATOR;
    uint8 public immutable DECIMALS;
    uint256 public immutable MATURITY;
    uint64 public discountRatePerYear;
    string public description;

    constructor(TestFeed feed, uint256 term, uint64 rate, string memory description_) {
        ASSET_TO_USD_AGGREGATOR = feed;
        DECIMALS = feed.decimals();
        MATURITY = block.timestamp + term;
        discountRatePerYear = rate;
        description = description_;
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function getCurrentDiscount() public view returns (uint256) {
        uint256 left = MATURITY > block.timestamp ? MATURITY - block.timestamp : 0;
        return (left * discountRatePerYear) / SECONDS_PER_YEAR;
    }

    function latestAnswer() external view returns (int256) {
        uint256 price = uint256(ASSET_TO_USD_AGGREGATOR.latestAnswer());
        return int256((price * (PERCENTAGE_FACTOR - getCurrentDiscount())) / PERCENTAGE_FACTOR);
    }
}
