// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price feed that anyone may set, with the getters lending protocols read.
contract TestFeed {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    int256 public latestAnswer;
    uint8 public immutable decimals;
    string public description;
    uint256 public latestRound;
    uint256 public latestTimestamp;

    constructor(int256 answer, uint8 decimals_, string memory description_) {
        decimals = decimals_;
        description = description_;
        setAnswer(answer);
    }

    function setAnswer(int256 answer) public {
        latestAnswer = answer;
        latestRound += 1;
        latestTimestamp = block.timestamp;
        emit AnswerUpdated(answer, latestRound, block.timestamp);
    }
}
