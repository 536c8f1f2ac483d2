// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// What is behind a proxy: only the proxy and accounts without code may read it, as Chainlink's
/// access-controlled aggregators.
contract TestAggregator {
    int256 internal answer;
    uint8 public immutable decimals;
    string public description;
    address internal immutable owner;

    constructor(int256 answer_, uint8 decimals_, string memory description_) {
        answer = answer_;
        decimals = decimals_;
        description = description_;
        owner = msg.sender;
    }

    modifier checkAccess() {
        require(msg.sender == owner || msg.sender == tx.origin, "No access");
        _;
    }

    function latestAnswer() external view checkAccess returns (int256) {
        return answer;
    }

    function latestRoundData() external view checkAccess returns (uint80, int256, uint256, uint256, uint80) {
        return (1, answer, block.timestamp, block.timestamp, 1);
    }

    function setAnswer(int256 answer_) external checkAccess {
        answer = answer_;
    }
}

/// A stand-in for Chainlink's EACAggregatorProxy: it forwards to its aggregator.
contract TestProxyFeed {
    TestAggregator public immutable aggregator;

    constructor(int256 answer, uint8 decimals_, string memory description_) {
        aggregator = new TestAggregator(answer, decimals_, description_);
    }

    function decimals() external view returns (uint8) {
        return aggregator.decimals();
    }

    function description() external view returns (string memory) {
        return aggregator.description();
    }

    function latestAnswer() external view returns (int256) {
        return aggregator.latestAnswer();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return aggregator.latestRoundData();
    }

    function setAnswer(int256 answer) external {
        aggregator.setAnswer(answer);
    }
}
