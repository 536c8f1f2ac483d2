// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// A stand-in for Morpho's oracle over feeds: the getters, the product of base feeds over that of
/// quote feeds. It is not Morpho's code.
contract MiniMorphoOracle {
    address public immutable BASE_VAULT = address(0);
    address public immutable QUOTE_VAULT = address(0);
    uint256 public constant BASE_VAULT_CONVERSION_SAMPLE = 1;
    uint256 public constant QUOTE_VAULT_CONVERSION_SAMPLE = 1;
    address public immutable BASE_FEED_1;
    address public immutable BASE_FEED_2;
    address public immutable QUOTE_FEED_1;
    address public immutable QUOTE_FEED_2;
    uint256 public immutable SCALE_FACTOR;
    uint256 internal offset;

    constructor(address base1, address base2, address quote1, address quote2, uint256 scale) {
        BASE_FEED_1 = base1;
        BASE_FEED_2 = base2;
        QUOTE_FEED_1 = quote1;
        QUOTE_FEED_2 = quote2;
        SCALE_FACTOR = scale;
    }

    function price() external view returns (uint256) {
        uint256 above = SCALE_FACTOR * answer(BASE_FEED_1) * answer(BASE_FEED_2);
        return above / (answer(QUOTE_FEED_1) * answer(QUOTE_FEED_2)) + offset;
    }

    /// Add to every price, so that single units can be tried.
    function setOffset(uint256 more) external {
        offset = more;
    }

    function answer(address feed) internal view returns (uint256) {
        if (feed == address(0)) return 1;
        (, int256 said,,,) = IFeed(feed).latestRoundData();
        require(said >= 0, "negative answer");
        return uint256(said);
    }
}
