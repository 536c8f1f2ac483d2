// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "./TestToken.sol";

/// A token whose symbol() and decimals() return any bytes at all, or revert with them.
contract HostileToken is TestToken {
    struct Answer {
        bytes data;
        bool reverts;
    }

    Answer private _symbolAnswer;
    Answer private _decimalsAnswer;

    constructor(uint8 decimals_) TestToken("Hostile", "HOST", decimals_) {
        _symbolAnswer.data = abi.encode("HOST");
        _decimalsAnswer.data = abi.encode(decimals_);
    }

    /// `data` is the whole return data of symbol(), not an encoded string.
    function setSymbol(bytes calldata data, bool reverts) external {
        _symbolAnswer = Answer(data, reverts);
    }

    /// `data` is the whole return data of decimals().
    function setDecimals(bytes calldata data, bool reverts) external {
        _decimalsAnswer = Answer(data, reverts);
    }

    function symbol() external view override returns (string memory) {
        _reply(_symbolAnswer);
    }

    function decimals() external view override returns (uint8) {
        _reply(_decimalsAnswer);
    }

    function _reply(Answer memory answer) private pure {
        bytes memory data = answer.data;
        bool reverts = answer.reverts;
        assembly {
            if reverts {
                revert(add(data, 32), mload(data))
            }
            return(add(data, 32), mload(data))
        }
    }
}
