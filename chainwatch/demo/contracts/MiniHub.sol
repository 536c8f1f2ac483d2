// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A stand-in for a hub of Aave v4, as far as spokes and readers ask it: a drawn index that grows with
/// time, and what supply shares are worth. It keeps no money and is not Aave's code.
contract MiniHub {
    struct Asset {
        uint256 drawnIndex;
        uint256 ratePerSecond; // ray
        uint256 since;
        uint256 assetsPerShare; // ray
    }

    mapping(uint256 => Asset) internal assets;
    mapping(uint256 => mapping(address => uint256)) public getSpokeDrawnShares;
    mapping(uint256 => address[]) internal spokes;

    function list(uint256 assetId, uint256 rate, uint256 assetsPerShare) external {
        assets[assetId] = Asset(1e27, rate, block.timestamp, assetsPerShare);
    }

    function setAssetsPerShare(uint256 assetId, uint256 ray) external {
        assets[assetId].assetsPerShare = ray;
    }

    function addSpoke(uint256 assetId, address spoke) external {
        spokes[assetId].push(spoke);
    }

    function getSpokeCount(uint256 assetId) external view returns (uint256) {
        return spokes[assetId].length;
    }

    function getSpokeAddress(uint256 assetId, uint256 index) external view returns (address) {
        return spokes[assetId][index];
    }

    /// The stand-in of a spoke tells what its users have drawn.
    function setDrawnShares(uint256 assetId, uint256 shares) external {
        getSpokeDrawnShares[assetId][msg.sender] = shares;
    }

    function getAssetDrawnIndex(uint256 assetId) external view returns (uint256) {
        Asset memory a = assets[assetId];
        return a.drawnIndex + (a.drawnIndex * (a.ratePerSecond * (block.timestamp - a.since))) / 1e27;
    }

    function previewRemoveByShares(uint256 assetId, uint256 shares) external view returns (uint256) {
        return (shares * assets[assetId].assetsPerShare) / 1e27;
    }
}
