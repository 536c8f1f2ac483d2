// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IAnswer {
    function latestAnswer() external view returns (int256);
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// Asks a price source as a market does: by latestAnswer() as Aave, or by latestRoundData() as Comet
/// and Morpho, for sources that have that alone.
contract TestConsumer {
    IAnswer public immutable source;

    constructor(IAnswer source_) {
        source = source_;
    }

    function price() external view returns (uint256) {
        try source.latestAnswer() returns (int256 answer) {
            return uint256(answer);
        } catch {
            (, int256 answer,,,) = source.latestRoundData();
            return uint256(answer);
        }
    }
}
