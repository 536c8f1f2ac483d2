// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IHubSide {
    function getAssetDrawnIndex(uint256 assetId) external view returns (uint256);
    function previewRemoveByShares(uint256 assetId, uint256 shares) external view returns (uint256);
    function setDrawnShares(uint256 assetId, uint256 shares) external;
}

interface IFeed {
    function latestAnswer() external view returns (int256);
}

/// A stand-in for a spoke of Aave v4 and its oracle: its ABI, units and rounding as far as positions go.
/// Users' shares are set rather than moved. It is not Aave's code and has no access control.
contract MiniSpoke {
    struct Reserve {
        address underlying;
        address hub;
        uint16 assetId;
        uint8 decimals;
        uint24 collateralRisk;
        uint8 flags;
        uint32 dynamicConfigKey;
    }

    struct DynamicReserveConfig {
        uint16 collateralFactor;
        uint32 maxLiquidationBonus;
        uint16 liquidationFee;
    }

    struct LiquidationConfig {
        uint128 targetHealthFactor;
        uint64 healthFactorForMaxBonus;
        uint16 liquidationBonusFactor;
    }

    struct UserPosition {
        uint120 drawnShares;
        uint120 premiumShares;
        int200 premiumOffsetRay;
        uint120 suppliedShares;
        uint32 dynamicConfigKey;
    }

    struct UserAccountData {
        uint256 riskPremium;
        uint256 avgCollateralFactor;
        uint256 healthFactor;
        uint256 totalCollateralValue;
        uint256 totalDebtValueRay;
        uint256 activeCollateralCount;
        uint256 borrowCount;
    }

    struct PremiumDelta {
        int256 sharesDelta;
        int256 offsetRayDelta;
        uint256 restoredPremiumRay;
    }

    event Supply(
        uint256 indexed reserveId, address indexed caller, address indexed user, uint256 shares, uint256 amount
    );
    event Borrow(
        uint256 indexed reserveId, address indexed caller, address indexed user, uint256 shares, uint256 amount
    );
    event SetUsingAsCollateral(
        uint256 indexed reserveId, address indexed caller, address indexed user, bool usingAsCollateral
    );
    event RefreshAllUserDynamicConfig(address indexed user);
    event ReportDeficit(
        uint256 indexed reserveId, address indexed user, uint256 drawnShares, PremiumDelta premiumDelta
    );
    event LiquidationCall(
        uint256 indexed collateralReserveId,
        uint256 indexed debtReserveId,
        address indexed user,
        address liquidator,
        bool receiveShares,
        uint256 debtAmountRestored,
        uint256 drawnSharesLiquidated,
        PremiumDelta premiumDelta,
        uint256 collateralAmountRemoved,
        uint256 collateralSharesLiquidated,
        uint256 collateralSharesToLiquidator
    );

    LiquidationConfig internal liquidation;
    Reserve[] internal reserves;
    mapping(uint256 => address) public getReserveSource;
    mapping(uint256 => mapping(uint32 => DynamicReserveConfig)) internal configs;
    mapping(uint256 => mapping(address => UserPosition)) internal positions;
    mapping(address => mapping(uint256 => bool)) internal asCollateral;
    mapping(uint256 => uint256) internal drawn; // shares of all users

    constructor(uint128 target, uint64 forMaxBonus, uint16 bonusFactor) {
        liquidation = LiquidationConfig(target, forMaxBonus, bonusFactor);
    }

    // --- what readers ask ---

    function ORACLE() external view returns (address) {
        return address(this);
    }

    function decimals() external pure returns (uint8) {
        return 8;
    }

    function getReservePrice(uint256 reserveId) public view returns (uint256) {
        int256 price = IFeed(getReserveSource[reserveId]).latestAnswer();
        require(price > 0, "no price");
        return uint256(price);
    }

    function getReserveCount() external view returns (uint256) {
        return reserves.length;
    }

    function getReserve(uint256 reserveId) external view returns (Reserve memory) {
        return reserves[reserveId];
    }

    /// Without premiums, which are no more than set by hand here.
    function getReserveTotalDebt(uint256 reserveId) external view returns (uint256) {
        Reserve memory r = reserves[reserveId];
        return (drawn[reserveId] * IHubSide(r.hub).getAssetDrawnIndex(r.assetId)) / 1e27;
    }

    function getLiquidationConfig() external view returns (LiquidationConfig memory) {
        return liquidation;
    }

    function getDynamicReserveConfig(uint256 reserveId, uint32 key)
        external
        view
        returns (DynamicReserveConfig memory)
    {
        return configs[reserveId][key];
    }

    function getUserReserveStatus(uint256 reserveId, address user) external view returns (bool, bool) {
        return (asCollateral[user][reserveId], positions[reserveId][user].drawnShares > 0);
    }

    function getUserPosition(uint256 reserveId, address user) external view returns (UserPosition memory) {
        return positions[reserveId][user];
    }

    function getUserAccountData(address user) public view returns (UserAccountData memory data) {
        uint256 weighted = 0;
        for (uint256 i = 0; i < reserves.length; i++) {
            UserPosition memory p = positions[i][user];
            if (!asCollateral[user][i] && p.drawnShares == 0) continue;
            uint256 unit = getReservePrice(i) * 10 ** (18 - reserves[i].decimals);
            uint256 factor = configs[i][p.dynamicConfigKey].collateralFactor;
            if (asCollateral[user][i] && factor > 0 && p.suppliedShares > 0) {
                uint256 value =
                    IHubSide(reserves[i].hub).previewRemoveByShares(reserves[i].assetId, p.suppliedShares) * unit;
                data.totalCollateralValue += value;
                weighted += value * factor;
                data.activeCollateralCount++;
            }
            if (p.drawnShares > 0) {
                uint256 index = IHubSide(reserves[i].hub).getAssetDrawnIndex(reserves[i].assetId);
                uint256 premium = uint256(int256(p.premiumShares * index) - p.premiumOffsetRay);
                data.totalDebtValueRay += (p.drawnShares * index + premium) * unit;
                data.borrowCount++;
            }
        }
        data.healthFactor = data.totalDebtValueRay == 0
            ? type(uint256).max
            : mulDiv(weighted * 1e14, 1e27, data.totalDebtValueRay);
        if (data.totalCollateralValue > 0) {
            data.avgCollateralFactor = (weighted * 1e14) / data.totalCollateralValue;
        }
    }

    // --- what happens ---

    function list(Reserve memory reserve, address source, DynamicReserveConfig memory config) external {
        uint256 id = reserves.length;
        reserves.push(reserve);
        getReserveSource[id] = source;
        configs[id][reserve.dynamicConfigKey] = config;
    }

    function configure(uint256 reserveId, DynamicReserveConfig memory config) external {
        configs[reserveId][++reserves[reserveId].dynamicConfigKey] = config;
    }

    function setFlags(uint256 reserveId, uint8 flags) external {
        reserves[reserveId].flags = flags;
    }

    function supply(uint256 reserveId, uint120 shares, address user, bool use) external {
        UserPosition storage p = positions[reserveId][user];
        p.suppliedShares = shares;
        if (p.dynamicConfigKey == 0) p.dynamicConfigKey = reserves[reserveId].dynamicConfigKey;
        emit Supply(reserveId, msg.sender, user, shares, shares);
        if (asCollateral[user][reserveId] == use) return;
        asCollateral[user][reserveId] = use;
        emit SetUsingAsCollateral(reserveId, msg.sender, user, use);
    }

    function borrow(uint256 reserveId, uint120 shares, uint120 premium, int200 offset, address user) external {
        UserPosition storage p = positions[reserveId][user];
        setDrawn(reserveId, drawn[reserveId] + shares - p.drawnShares);
        (p.drawnShares, p.premiumShares, p.premiumOffsetRay) = (shares, premium, offset);
        emit Borrow(reserveId, msg.sender, user, shares, shares);
    }

    function refresh(address user) external {
        for (uint256 i = 0; i < reserves.length; i++) {
            positions[i][user].dynamicConfigKey = reserves[i].dynamicConfigKey;
        }
        emit RefreshAllUserDynamicConfig(user);
    }

    /// Takes what it is told to, of an account that may be liquidated; the rest is a deficit if asked.
    function liquidationCall(uint256 collateral, uint256 debt, address user, uint120[4] memory taken, bool deficit)
        external
    {
        require((reserves[collateral].flags | reserves[debt].flags) & 1 == 0, "ReservePaused");
        require(getUserAccountData(user).healthFactor < 1e18, "healthy");
        PremiumDelta memory none;
        positions[debt][user].drawnShares -= taken[1];
        setDrawn(debt, drawn[debt] - taken[1]);
        positions[collateral][user].suppliedShares -= taken[3];
        emit LiquidationCall(
            collateral, debt, user, msg.sender, false, taken[0], taken[1], none, taken[2], taken[3], taken[3]
        );
        if (!deficit) return;
        emit ReportDeficit(debt, user, positions[debt][user].drawnShares, none);
        setDrawn(debt, drawn[debt] - positions[debt][user].drawnShares);
        positions[debt][user].drawnShares = 0;
    }

    function setDrawn(uint256 reserveId, uint256 shares) internal {
        drawn[reserveId] = shares;
        IHubSide(reserves[reserveId].hub).setDrawnShares(reserves[reserveId].assetId, shares);
    }

    /// a · b / c with all 512 bits in between, by long division: slow, and short.
    function mulDiv(uint256 a, uint256 b, uint256 c) internal pure returns (uint256 found) {
        found = (a / c) * b;
        uint256 rest = a % c;
        uint256 bit = 1 << 90; // b < 2^91
        uint256 part = 0;
        uint256 left = 0;
        while (bit > 0) {
            part *= 2;
            left *= 2;
            if (left >= c) (left, part) = (left - c, part + 1);
            if (b & bit > 0) {
                left += rest;
                if (left >= c) (left, part) = (left - c, part + 1);
            }
            bit >>= 1;
        }
        found += part;
    }
}
