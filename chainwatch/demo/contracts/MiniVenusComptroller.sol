// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {MiniComptroller} from "./MiniComptroller.sol";

/// A stand-in for Venus's Comptroller, a fork of Compound v2's that pauses actions one by one: what it
/// adds as far as liquidation goes. It is not Venus's code and has no access control.
contract MiniVenusComptroller is MiniComptroller {
    enum Action {
        MINT,
        REDEEM,
        BORROW,
        REPAY,
        SEIZE,
        LIQUIDATE,
        TRANSFER,
        ENTER_MARKET,
        EXIT_MARKET
    }

    bool public protocolPaused;
    mapping(address => mapping(Action => bool)) internal paused;

    constructor(address prices, uint256 closeFactor, uint256 incentive)
        MiniComptroller(prices, closeFactor, incentive)
    {}

    function actionPaused(address market, Action action) public view returns (bool) {
        return paused[market][action];
    }

    function setProtocolPaused(bool value) external {
        protocolPaused = value;
    }

    function setActionPaused(address market, Action action, bool value) external {
        paused[market][action] = value;
    }

    function liquidateBorrowAllowed(
        address borrowed, address collateral, address liquidator, address borrower, uint256 repaid
    ) public view override returns (uint256) {
        check(borrowed, Action.LIQUIDATE);
        return super.liquidateBorrowAllowed(borrowed, collateral, liquidator, borrower, repaid);
    }

    function repayBorrowAllowed(address cToken, address payer, address borrower, uint256 repaid)
        public
        view
        override
        returns (uint256)
    {
        check(cToken, Action.REPAY);
        return super.repayBorrowAllowed(cToken, payer, borrower, repaid);
    }

    function seizeAllowed(
        address collateral, address borrowed, address liquidator, address borrower, uint256 tokens
    ) public view override returns (uint256) {
        check(collateral, Action.SEIZE);
        return super.seizeAllowed(collateral, borrowed, liquidator, borrower, tokens);
    }

    function check(address market, Action action) internal view {
        require(!protocolPaused, "protocol is paused");
        require(!paused[market][action], "action is paused");
    }
}
