// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
}

interface IRules {
    function borrowing(address account) external;
    function healthy(address account) external view returns (bool);
    function liquidateBorrowAllowed(
        address borrowed, address collateral, address liquidator, address borrower, uint256 repaid
    ) external view returns (uint256);
    function repayBorrowAllowed(address cToken, address payer, address borrower, uint256 repaid)
        external
        view
        returns (uint256);
    function seizeAllowed(
        address collateral, address borrowed, address liquidator, address borrower, uint256 tokens
    ) external view returns (uint256);
    function liquidateCalculateSeizeTokens(address borrowed, address collateral, uint256 repaid)
        external
        view
        returns (uint256, uint256);
}

/// A stand-in for a cToken of Compound v2: its ABI, its units and its rounding as far as positions
/// and liquidation go; the rate per block is given. It is not Compound's code and has no access
/// control.
contract MiniCToken {
    struct Loan {
        uint256 principal;
        uint256 index;
    }

    event Transfer(address indexed from, address indexed to, uint256 amount);
    event Mint(address minter, uint256 mintAmount, uint256 mintTokens);
    event Redeem(address redeemer, uint256 redeemAmount, uint256 redeemTokens);
    event Borrow(address borrower, uint256 borrowAmount, uint256 accountBorrows, uint256 totalBorrows);
    event RepayBorrow(
        address payer, address borrower, uint256 repayAmount, uint256 accountBorrows, uint256 totalBorrows
    );
    event LiquidateBorrow(
        address liquidator, address borrower, uint256 repayAmount, address cTokenCollateral, uint256 seizeTokens
    );
    event AccrueInterest(uint256 cashPrior, uint256 interestAccumulated, uint256 borrowIndex, uint256 totalBorrows);

    address public immutable comptroller;
    address internal immutable token;
    uint8 public constant decimals = 8;
    uint256 public constant protocolSeizeShareMantissa = 28e15;
    uint256 public reserveFactorMantissa = 1e17;
    string public symbol;
    uint256 public borrowIndex = 1e18;
    uint256 public accrualBlockNumber;
    uint256 public totalBorrows;
    uint256 public totalReserves;
    uint256 public totalSupply;
    uint256 public borrowRatePerBlock;
    uint256 internal immutable firstRate;
    mapping(address => uint256) public balanceOf;
    mapping(address => Loan) internal loans;

    constructor(string memory symbol_, address comptroller_, address token_, uint256 rate, uint256 perBlock) {
        symbol = symbol_;
        comptroller = comptroller_;
        token = token_;
        firstRate = rate;
        borrowRatePerBlock = perBlock;
        accrualBlockNumber = block.number;
    }

    // --- what readers ask ---

    /// Reverts where there is none, as a market of the chain's own coin does.
    function underlying() external view returns (address) {
        require(token != address(0));
        return token;
    }

    function getCash() public view returns (uint256) {
        return IToken(token).balanceOf(address(this));
    }

    function exchangeRateStored() public view returns (uint256) {
        if (totalSupply == 0) return firstRate;
        return ((getCash() + totalBorrows - totalReserves) * 1e18) / totalSupply;
    }

    function exchangeRateCurrent() external returns (uint256) {
        accrueInterest();
        return exchangeRateStored();
    }

    function borrowBalanceStored(address account) public view returns (uint256) {
        Loan memory loan = loans[account];
        return loan.principal == 0 ? 0 : (loan.principal * borrowIndex) / loan.index;
    }

    function borrowBalanceCurrent(address account) external returns (uint256) {
        accrueInterest();
        return borrowBalanceStored(account);
    }

    function getAccountSnapshot(address account) external view returns (uint256, uint256, uint256, uint256) {
        return (0, balanceOf[account], borrowBalanceStored(account), exchangeRateStored());
    }

    // --- what users do ---

    function mint(uint256 amount) external {
        accrueInterest();
        uint256 tokens = (amount * 1e18) / exchangeRateStored();
        IToken(token).transferFrom(msg.sender, address(this), amount);
        totalSupply += tokens;
        balanceOf[msg.sender] += tokens;
        emit Mint(msg.sender, amount, tokens);
        emit Transfer(address(this), msg.sender, tokens);
    }

    function redeem(uint256 tokens) external {
        accrueInterest();
        uint256 amount = (exchangeRateStored() * tokens) / 1e18;
        totalSupply -= tokens;
        balanceOf[msg.sender] -= tokens;
        IToken(token).transfer(msg.sender, amount);
        require(IRules(comptroller).healthy(msg.sender), "shortfall");
        emit Transfer(msg.sender, address(this), tokens);
        emit Redeem(msg.sender, amount, tokens);
    }

    function transfer(address to, uint256 tokens) external returns (bool) {
        move(msg.sender, to, tokens);
        require(IRules(comptroller).healthy(msg.sender), "shortfall");
        return true;
    }

    function borrow(uint256 amount) external {
        accrueInterest();
        IRules(comptroller).borrowing(msg.sender);
        uint256 debt = borrowBalanceStored(msg.sender) + amount;
        loans[msg.sender] = Loan(debt, borrowIndex);
        totalBorrows += amount;
        require(IRules(comptroller).healthy(msg.sender), "shortfall");
        IToken(token).transfer(msg.sender, amount);
        emit Borrow(msg.sender, amount, debt, totalBorrows);
    }

    function repayBorrowBehalf(address borrower, uint256 amount) external {
        accrueInterest();
        repay(borrower, amount == type(uint256).max ? borrowBalanceStored(borrower) : amount);
    }

    function liquidateBorrow(address borrower, uint256 amount, address collateral) external {
        accrueInterest();
        MiniCToken(collateral).accrueInterest();
        uint256 refused = IRules(comptroller).liquidateBorrowAllowed(
            address(this), collateral, msg.sender, borrower, amount
        );
        require(refused == 0, "refused");
        repay(borrower, amount);
        (, uint256 tokens) =
            IRules(comptroller).liquidateCalculateSeizeTokens(address(this), collateral, amount);
        MiniCToken(collateral).seize(msg.sender, borrower, tokens);
        emit LiquidateBorrow(msg.sender, borrower, amount, collateral, tokens);
    }

    function seize(address liquidator, address borrower, uint256 tokens) external {
        uint256 refused =
            IRules(comptroller).seizeAllowed(address(this), msg.sender, liquidator, borrower, tokens);
        require(refused == 0, "refused");
        uint256 share = (tokens * protocolSeizeShareMantissa) / 1e18;
        uint256 amount = (exchangeRateStored() * share) / 1e18;
        balanceOf[borrower] -= tokens;
        balanceOf[liquidator] += tokens - share;
        totalReserves += amount;
        totalSupply -= share;
        emit Transfer(borrower, liquidator, tokens - share);
        emit Transfer(borrower, address(this), share);
    }

    function accrueInterest() public {
        uint256 blocks = block.number - accrualBlockNumber;
        if (blocks == 0) return;
        uint256 cash = getCash();
        uint256 factor = borrowRatePerBlock * blocks;
        uint256 interest = (factor * totalBorrows) / 1e18;
        totalBorrows += interest;
        totalReserves += (reserveFactorMantissa * interest) / 1e18;
        borrowIndex += (factor * borrowIndex) / 1e18;
        accrualBlockNumber = block.number;
        emit AccrueInterest(cash, interest, borrowIndex, totalBorrows);
    }

    function setRate(uint256 perBlock) external {
        accrueInterest();
        borrowRatePerBlock = perBlock;
    }

    function _setReserveFactor(uint256 mantissa) external returns (uint256) {
        reserveFactorMantissa = mantissa;
        return 0;
    }

    function repay(address borrower, uint256 amount) internal {
        uint256 refused =
            IRules(comptroller).repayBorrowAllowed(address(this), msg.sender, borrower, amount);
        require(refused == 0, "refused");
        uint256 debt = borrowBalanceStored(borrower) - amount;
        IToken(token).transferFrom(msg.sender, address(this), amount);
        loans[borrower] = Loan(debt, borrowIndex);
        totalBorrows = totalBorrows > amount ? totalBorrows - amount : 0;
        emit RepayBorrow(msg.sender, borrower, amount, debt, totalBorrows);
    }

    function move(address from, address to, uint256 tokens) internal {
        balanceOf[from] -= tokens;
        balanceOf[to] += tokens;
        emit Transfer(from, to, tokens);
    }
}
