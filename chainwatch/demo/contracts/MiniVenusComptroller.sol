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
    address public liquidatorContract;
    mapping(address => mapping(Action => bool)) internal paused;

    constructor(address prices, uint256 closeFactor, uint256 incentive)
        MiniComptroller(prices, closeFactor, incentive)
    {}

    function actionPaused(address market, Action action) public view returns (bool) {
        return paused[market][action];
    }

    function _setProtocolPaused(bool state) external returns (bool) {
        protocolPaused = state;
        return state;
    }

    function _setActionsPaused(address[] calldata cTokens, Action[] calldata actions, bool state) external {
        for (uint256 i = 0; i < cTokens.length; i++) {
            for (uint256 j = 0; j < actions.length; j++) {
                paused[cTokens[i]][actions[j]] = state;
            }
        }
    }

    function _setLiquidatorContract(address liquidator) external {
        liquidatorContract = liquidator;
    }

    function liquidateBorrowAllowed(
        address borrowed, address collateral, address liquidator, address borrower, uint256 repaid
    ) public view override returns (uint256) {
        check(borrowed, Action.LIQUIDATE);
        if (liquidatorContract != address(0) && liquidator != liquidatorContract) return 1;
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
