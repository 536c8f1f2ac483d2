// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// An interest rate that anyone may set, with the ABI of Morpho Blue's rate models.
contract MiniIrm {
    struct MarketParams {
        address loanToken;
        address collateralToken;
        address oracle;
        address irm;
        uint256 lltv;
    }

    struct Market {
        uint128 totalSupplyAssets;
        uint128 totalSupplyShares;
        uint128 totalBorrowAssets;
        uint128 totalBorrowShares;
        uint128 lastUpdate;
        uint128 fee;
    }

    uint256 public rate;

    constructor(uint256 perSecond) {
        rate = perSecond;
    }

    function setRate(uint256 perSecond) external {
        rate = perSecond;
    }

    function borrowRate(MarketParams memory params, Market memory market) external view returns (uint256) {
        return borrowRateView(params, market);
    }

    function borrowRateView(MarketParams memory, Market memory) public view returns (uint256) {
        require(rate != type(uint256).max, "no rate");
        return rate;
    }
}
