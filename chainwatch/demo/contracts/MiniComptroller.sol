// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IPrices {
    function getUnderlyingPrice(address cToken) external view returns (uint256);
}

interface IMarket {
    function getAccountSnapshot(address account) external view returns (uint256, uint256, uint256, uint256);
    function exchangeRateStored() external view returns (uint256);
    function balanceOf(address account) external view returns (uint256);
    function borrowBalanceStored(address account) external view returns (uint256);
    function reserveFactorMantissa() external view returns (uint256);
}

/// A stand-in for Compound v2's Comptroller: its ABI, its units and its rounding as far as positions
/// and liquidation go. It is not Compound's code and has no access control.
contract MiniComptroller {
    struct Listing {
        bool isListed;
        uint256 collateralFactorMantissa;
        bool isComped;
    }

    event MarketListed(address cToken);
    event MarketEntered(address cToken, address account);
    event MarketExited(address cToken, address account);

    bool public constant isComptroller = true;
    address public oracle;
    uint256 public closeFactorMantissa;
    uint256 public liquidationIncentiveMantissa;
    mapping(address => Listing) public markets;
    mapping(address => bool) public borrowGuardianPaused;
    bool public seizeGuardianPaused;
    mapping(address => mapping(address => bool)) internal member;
    mapping(address => address[]) internal entered;
    address[] internal all;

    constructor(address prices, uint256 closeFactor, uint256 incentive) {
        oracle = prices;
        closeFactorMantissa = closeFactor;
        liquidationIncentiveMantissa = incentive;
    }

    function getAllMarkets() external view returns (address[] memory) {
        return all;
    }

    function getAssetsIn(address account) external view returns (address[] memory) {
        return entered[account];
    }

    function checkMembership(address account, address cToken) external view returns (bool) {
        return member[account][cToken];
    }

    /// (error, liquidity, shortfall); error 13 where a price is missing.
    function getAccountLiquidity(address account) public view returns (uint256, uint256, uint256) {
        uint256 covered = 0;
        uint256 owed = 0;
        address[] memory ins = entered[account];
        for (uint256 i = 0; i < ins.length; i++) {
            (, uint256 tokens, uint256 debt, uint256 rate) = IMarket(ins[i]).getAccountSnapshot(account);
            uint256 price = IPrices(oracle).getUnderlyingPrice(ins[i]);
            if (price == 0) return (13, 0, 0);
            uint256 perToken = (((markets[ins[i]].collateralFactorMantissa * rate) / 1e18) * price) / 1e18;
            covered += (perToken * tokens) / 1e18;
            owed += (price * debt) / 1e18;
        }
        return covered > owed ? (uint256(0), covered - owed, uint256(0)) : (uint256(0), uint256(0), owed - covered);
    }

    function liquidateCalculateSeizeTokens(address borrowed, address collateral, uint256 repaid)
        external
        view
        returns (uint256, uint256)
    {
        uint256 priceOwed = IPrices(oracle).getUnderlyingPrice(borrowed);
        uint256 priceHeld = IPrices(oracle).getUnderlyingPrice(collateral);
        uint256 above = (liquidationIncentiveMantissa * priceOwed) / 1e18;
        uint256 below = (priceHeld * IMarket(collateral).exchangeRateStored()) / 1e18;
        return (0, (((above * 1e18) / below) * repaid) / 1e18);
    }

    function _supportMarket(address cToken) external returns (uint256) {
        all.push(cToken);
        markets[cToken] = Listing(true, 0, false);
        emit MarketListed(cToken);
        return 0;
    }

    function _setCollateralFactor(address cToken, uint256 collateralFactor) external returns (uint256) {
        markets[cToken].collateralFactorMantissa = collateralFactor;
        return 0;
    }

    function _setPriceOracle(address prices) external returns (uint256) {
        oracle = prices;
        return 0;
    }

    function _setBorrowPaused(address cToken, bool state) external returns (bool) {
        borrowGuardianPaused[cToken] = state;
        return state;
    }

    function _setSeizePaused(bool state) external returns (bool) {
        seizeGuardianPaused = state;
        return state;
    }

    function enterMarkets(address[] calldata cTokens) external returns (uint256[] memory failures) {
        failures = new uint256[](cTokens.length);
        for (uint256 i = 0; i < cTokens.length; i++) {
            enter(cTokens[i], msg.sender);
        }
    }

    function exitMarket(address cToken) external returns (uint256) {
        require(member[msg.sender][cToken], "not a member");
        require(IMarket(cToken).borrowBalanceStored(msg.sender) == 0, "it still owes");
        member[msg.sender][cToken] = false;
        address[] storage ins = entered[msg.sender];
        for (uint256 i = 0; i < ins.length; i++) {
            if (ins[i] != cToken) continue;
            ins[i] = ins[ins.length - 1];
            ins.pop();
            break;
        }
        require(healthy(msg.sender), "shortfall");
        emit MarketExited(cToken, msg.sender);
        return 0;
    }

    // --- what the markets ask ---

    function borrowing(address account) external {
        enter(msg.sender, account);
    }

    function healthy(address account) public view returns (bool) {
        (uint256 failed,, uint256 shortfall) = getAccountLiquidity(account);
        return failed == 0 && shortfall == 0;
    }

    /// 0, or why a repayment is refused: 3 no shortfall, 13 no price, 17 too much.
    function liquidateBorrowAllowed(address borrowed, address, address, address borrower, uint256 repaid)
        public
        view
        virtual
        returns (uint256)
    {
        uint256 debt = IMarket(borrowed).borrowBalanceStored(borrower);
        if (markets[borrowed].collateralFactorMantissa == 0 && borrowGuardianPaused[borrowed]) {
            if (IMarket(borrowed).reserveFactorMantissa() == 1e18) {
                require(debt >= repaid, "more than is owed");
                return 0;
            }
        }
        (uint256 failed,, uint256 shortfall) = getAccountLiquidity(borrower);
        if (failed != 0) return failed;
        if (shortfall == 0) return 3;
        return repaid > (closeFactorMantissa * debt) / 1e18 ? 17 : 0;
    }

    function repayBorrowAllowed(address cToken, address, address, uint256) public view virtual returns (uint256) {
        return markets[cToken].isListed ? 0 : 9;
    }

    function seizeAllowed(address collateral, address, address, address, uint256)
        public
        view
        virtual
        returns (uint256)
    {
        require(!seizeGuardianPaused, "seize is paused");
        return markets[collateral].isListed ? 0 : 9;
    }

    function enter(address cToken, address account) internal {
        require(markets[cToken].isListed, "not listed");
        if (member[account][cToken]) return;
        member[account][cToken] = true;
        entered[account].push(cToken);
        emit MarketEntered(cToken, account);
    }
}
