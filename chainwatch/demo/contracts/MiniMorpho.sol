// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

interface IPrice {
    function price() external view returns (uint256);
}

interface IRate {
    function borrowRate(MiniMorpho.MarketParams memory params, MiniMorpho.Market memory market)
        external
        returns (uint256);
}

/// A stand-in for Morpho Blue: its ABI, its units and its rounding as far as borrowing and
/// liquidation go, without fees and authorisations. It is not Morpho's code.
contract MiniMorpho {
    struct MarketParams {
        address loanToken;
        address collateralToken;
        address oracle;
        address irm;
        uint256 lltv;
    }

    struct Market {
        uint128 totalSupplyAssets;
        uint128 totalSupplyShares;
        uint128 totalBorrowAssets;
        uint128 totalBorrowShares;
        uint128 lastUpdate;
        uint128 fee;
    }

    struct Position {
        uint256 supplyShares;
        uint128 borrowShares;
        uint128 collateral;
    }

    event SetOwner(address indexed newOwner);
    event EnableIrm(address indexed irm);
    event EnableLltv(uint256 lltv);
    event CreateMarket(bytes32 indexed id, MarketParams marketParams);
    event Supply(
        bytes32 indexed id, address indexed caller, address indexed onBehalf, uint256 assets, uint256 shares
    );
    event SupplyCollateral(bytes32 indexed id, address indexed caller, address indexed onBehalf, uint256 assets);
    event WithdrawCollateral(
        bytes32 indexed id, address caller, address indexed onBehalf, address indexed receiver, uint256 assets
    );
    event Borrow(
        bytes32 indexed id,
        address caller,
        address indexed onBehalf,
        address indexed receiver,
        uint256 assets,
        uint256 shares
    );
    event Repay(
        bytes32 indexed id, address indexed caller, address indexed onBehalf, uint256 assets, uint256 shares
    );
    event Liquidate(
        bytes32 indexed id,
        address indexed caller,
        address indexed borrower,
        uint256 repaidAssets,
        uint256 repaidShares,
        uint256 seizedAssets,
        uint256 badDebtAssets,
        uint256 badDebtShares
    );
    event AccrueInterest(bytes32 indexed id, uint256 prevBorrowRate, uint256 interest, uint256 feeShares);

    uint256 constant PRICE_SCALE = 1e36;

    address public owner;
    mapping(address => bool) public isIrmEnabled;
    mapping(uint256 => bool) public isLltvEnabled;
    mapping(bytes32 => MarketParams) public idToMarketParams;
    mapping(bytes32 => Market) public market;
    mapping(bytes32 => mapping(address => Position)) public position;

    constructor(address newOwner) {
        require(newOwner != address(0), "zero address");
        owner = newOwner;
        emit SetOwner(newOwner);
    }

    function enableIrm(address irm) external {
        require(msg.sender == owner, "not owner");
        require(!isIrmEnabled[irm], "already set");
        isIrmEnabled[irm] = true;
        emit EnableIrm(irm);
    }

    function enableLltv(uint256 lltv) external {
        require(msg.sender == owner, "not owner");
        require(!isLltvEnabled[lltv], "already set");
        require(lltv < 1e18, "max LLTV exceeded");
        isLltvEnabled[lltv] = true;
        emit EnableLltv(lltv);
    }

    function createMarket(MarketParams memory params) external {
        bytes32 id = keccak256(abi.encode(params));
        require(isIrmEnabled[params.irm], "IRM not enabled");
        require(isLltvEnabled[params.lltv], "LLTV not enabled");
        require(market[id].lastUpdate == 0, "market already created");
        market[id].lastUpdate = uint128(block.timestamp);
        idToMarketParams[id] = params;
        emit CreateMarket(id, params);
        if (params.irm != address(0)) IRate(params.irm).borrowRate(params, market[id]);
    }

    function supply(MarketParams memory params, uint256 assets, uint256 shares, address onBehalf, bytes calldata)
        external
        returns (uint256, uint256)
    {
        bytes32 id = accrue(params);
        require((assets == 0) != (shares == 0), "inconsistent input");
        Market storage m = market[id];
        uint256 above = uint256(m.totalSupplyShares) + 1e6;
        if (assets > 0) shares = (assets * above) / (uint256(m.totalSupplyAssets) + 1);
        else assets = up(shares * (uint256(m.totalSupplyAssets) + 1), above);
        position[id][onBehalf].supplyShares += shares;
        m.totalSupplyAssets += uint128(assets);
        m.totalSupplyShares += uint128(shares);
        emit Supply(id, msg.sender, onBehalf, assets, shares);
        IToken(params.loanToken).transferFrom(msg.sender, address(this), assets);
        return (assets, shares);
    }

    function supplyCollateral(MarketParams memory params, uint256 assets, address onBehalf, bytes calldata)
        external
    {
        bytes32 id = keccak256(abi.encode(params));
        require(market[id].lastUpdate != 0, "market not created");
        position[id][onBehalf].collateral += uint128(assets);
        emit SupplyCollateral(id, msg.sender, onBehalf, assets);
        IToken(params.collateralToken).transferFrom(msg.sender, address(this), assets);
    }

    function withdrawCollateral(MarketParams memory params, uint256 assets, address onBehalf, address receiver)
        external
    {
        require(onBehalf == msg.sender, "unauthorized");
        bytes32 id = accrue(params);
        position[id][onBehalf].collateral -= uint128(assets);
        require(healthy(params, id, onBehalf), "insufficient collateral");
        emit WithdrawCollateral(id, msg.sender, onBehalf, receiver, assets);
        IToken(params.collateralToken).transfer(receiver, assets);
    }

    function borrow(MarketParams memory params, uint256 assets, uint256 shares, address onBehalf, address receiver)
        external
        returns (uint256, uint256)
    {
        bytes32 id = accrue(params);
        require((assets == 0) != (shares == 0), "inconsistent input");
        require(onBehalf == msg.sender, "unauthorized");
        Market storage m = market[id];
        if (assets > 0) shares = toShares(id, assets);
        else assets = toAssetsDown(id, shares);
        position[id][onBehalf].borrowShares += uint128(shares);
        m.totalBorrowShares += uint128(shares);
        m.totalBorrowAssets += uint128(assets);
        require(healthy(params, id, onBehalf), "insufficient collateral");
        require(m.totalBorrowAssets <= m.totalSupplyAssets, "insufficient liquidity");
        emit Borrow(id, msg.sender, onBehalf, receiver, assets, shares);
        IToken(params.loanToken).transfer(receiver, assets);
        return (assets, shares);
    }

    function repay(MarketParams memory params, uint256 assets, uint256 shares, address onBehalf, bytes calldata)
        external
        returns (uint256, uint256)
    {
        bytes32 id = accrue(params);
        require((assets == 0) != (shares == 0), "inconsistent input");
        if (assets > 0) shares = toSharesDown(id, assets);
        else assets = toAssets(id, shares);
        pay(id, onBehalf, assets, shares);
        emit Repay(id, msg.sender, onBehalf, assets, shares);
        IToken(params.loanToken).transferFrom(msg.sender, address(this), assets);
        return (assets, shares);
    }

    function liquidate(
        MarketParams memory params, address borrower, uint256 seized, uint256 shares, bytes calldata
    ) external returns (uint256, uint256) {
        bytes32 id = accrue(params);
        require((seized == 0) != (shares == 0), "inconsistent input");
        (seized, shares) = quote(params, id, borrower, seized, shares);
        uint256 assets = toAssets(id, shares);
        pay(id, borrower, assets, shares);
        position[id][borrower].collateral -= uint128(seized);
        tell(id, borrower, [assets, shares, seized]);
        IToken(params.collateralToken).transfer(msg.sender, seized);
        IToken(params.loanToken).transferFrom(msg.sender, address(this), assets);
        return (seized, assets);
    }

    function accrueInterest(MarketParams memory params) external {
        accrue(params);
    }

    // --- inside ---

    /// What is seized and what shares are repaid, where one of the two is given.
    function quote(MarketParams memory params, bytes32 id, address borrower, uint256 seized, uint256 shares)
        internal
        view
        returns (uint256, uint256)
    {
        uint256 price = IPrice(params.oracle).price();
        require(!healthyAt(params.lltv, id, borrower, price), "position is healthy");
        uint256 incentive = 1e36 / (1e18 - (3e17 * (1e18 - params.lltv)) / 1e18);
        if (incentive > 115e16) incentive = 115e16;
        if (seized > 0) return (seized, toShares(id, up(up(seized * price, PRICE_SCALE) * 1e18, incentive)));
        return ((((toAssetsDown(id, shares) * incentive) / 1e18) * PRICE_SCALE) / price, shares);
    }

    /// Write off what no collateral is left for, and emit the event.
    function tell(bytes32 id, address borrower, uint256[3] memory said) internal {
        (uint256 lost, uint256 lostShares) = writeOff(id, borrower);
        emit Liquidate(id, msg.sender, borrower, said[0], said[1], said[2], lost, lostShares);
    }

    function accrue(MarketParams memory params) internal returns (bytes32 id) {
        id = keccak256(abi.encode(params));
        Market storage m = market[id];
        require(m.lastUpdate != 0, "market not created");
        uint256 elapsed = block.timestamp - m.lastUpdate;
        if (elapsed == 0) return id;
        if (params.irm != address(0)) {
            uint256 rate = IRate(params.irm).borrowRate(params, m);
            uint256 first = rate * elapsed;
            uint256 second = (first * first) / 2e18;
            uint256 interest = (m.totalBorrowAssets * (first + second + (second * first) / 3e18)) / 1e18;
            m.totalBorrowAssets += uint128(interest);
            m.totalSupplyAssets += uint128(interest);
            emit AccrueInterest(id, rate, interest, 0);
        }
        m.lastUpdate = uint128(block.timestamp);
    }

    function healthy(MarketParams memory params, bytes32 id, address account) internal view returns (bool) {
        if (position[id][account].borrowShares == 0) return true;
        return healthyAt(params.lltv, id, account, IPrice(params.oracle).price());
    }

    function healthyAt(uint256 lltv, bytes32 id, address account, uint256 price) internal view returns (bool) {
        uint256 most = (((position[id][account].collateral * price) / PRICE_SCALE) * lltv) / 1e18;
        return most >= toAssets(id, position[id][account].borrowShares);
    }

    function pay(bytes32 id, address account, uint256 assets, uint256 shares) internal {
        Market storage m = market[id];
        position[id][account].borrowShares -= uint128(shares);
        m.totalBorrowShares -= uint128(shares);
        m.totalBorrowAssets = m.totalBorrowAssets > assets ? m.totalBorrowAssets - uint128(assets) : 0;
    }

    function writeOff(bytes32 id, address account) internal returns (uint256 assets, uint256 shares) {
        if (position[id][account].collateral != 0) return (0, 0);
        Market storage m = market[id];
        shares = position[id][account].borrowShares;
        assets = toAssets(id, shares);
        if (assets > m.totalBorrowAssets) assets = m.totalBorrowAssets;
        m.totalBorrowAssets -= uint128(assets);
        m.totalSupplyAssets -= uint128(assets);
        m.totalBorrowShares -= uint128(shares);
        position[id][account].borrowShares = 0;
    }

    function toAssets(bytes32 id, uint256 shares) internal view returns (uint256) {
        Market memory m = market[id];
        return up(shares * (uint256(m.totalBorrowAssets) + 1), uint256(m.totalBorrowShares) + 1e6);
    }

    function toAssetsDown(bytes32 id, uint256 shares) internal view returns (uint256) {
        Market memory m = market[id];
        return (shares * (uint256(m.totalBorrowAssets) + 1)) / (uint256(m.totalBorrowShares) + 1e6);
    }

    function toSharesDown(bytes32 id, uint256 assets) internal view returns (uint256) {
        Market memory m = market[id];
        return (assets * (uint256(m.totalBorrowShares) + 1e6)) / (uint256(m.totalBorrowAssets) + 1);
    }

    function toShares(bytes32 id, uint256 assets) internal view returns (uint256) {
        Market memory m = market[id];
        return up(assets * (uint256(m.totalBorrowShares) + 1e6), uint256(m.totalBorrowAssets) + 1);
    }

    function up(uint256 a, uint256 b) internal pure returns (uint256) {
        return (a + b - 1) / b;
    }
}
