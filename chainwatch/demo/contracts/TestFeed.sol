// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price feed that anyone may set, with the getters of Chainlink's.
contract TestFeed {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    int256 public latestAnswer;
    uint8 public immutable decimals;
    uint256 public constant version = 4;
    string public description;
    uint256 public latestRound;
    uint256 public latestTimestamp;

    constructor(int256 answer, uint8 decimals_, string memory description_) {
        decimals = decimals_;
        description = description_;
        setAnswer(answer);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        uint80 round = uint80(latestRound);
        return (round, latestAnswer, latestTimestamp, latestTimestamp, round);
    }

    function setAnswer(int256 answer) public {
        latestAnswer = answer;
        latestRound += 1;
        latestTimestamp = block.timestamp;
        emit AnswerUpdated(answer, latestRound, block.timestamp);
    }
}
