// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A stand-in for Compound's UniswapAnchoredView: the price of one cToken is part of its code, all
/// others are kept in its storage as they were posted.
contract MiniAnchoredView {
    address internal immutable fixedToken;
    uint256 internal immutable fixedMantissa;
    mapping(address => uint256) internal posted;

    constructor(address cToken, uint256 mantissa) {
        fixedToken = cToken;
        fixedMantissa = mantissa;
    }

    function post(address cToken, uint256 mantissa) external {
        posted[cToken] = mantissa;
    }

    function getUnderlyingPrice(address cToken) external view returns (uint256) {
        return cToken == fixedToken ? fixedMantissa : posted[cToken];
    }
}
