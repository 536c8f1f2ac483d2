// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
}

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// A stand-in for a Compound III market: its ABI, its units and its rounding as far as positions,
/// absorption and sale go. It is not Compound's code and has no access control.
contract MiniComet {
    struct Asset {
        address asset;
        address priceFeed;
        uint64 scale;
        uint64 borrowCollateralFactor;
        uint64 liquidateCollateralFactor;
        uint64 liquidationFactor;
    }

    struct AssetInfo {
        uint8 offset;
        address asset;
        address priceFeed;
        uint64 scale;
        uint64 borrowCollateralFactor;
        uint64 liquidateCollateralFactor;
        uint64 liquidationFactor;
        uint128 supplyCap;
    }

    struct Totals {
        uint64 baseSupplyIndex;
        uint64 baseBorrowIndex;
        uint64 trackingSupplyIndex;
        uint64 trackingBorrowIndex;
        uint104 totalSupplyBase;
        uint104 totalBorrowBase;
        uint40 lastAccrualTime;
        uint8 pauseFlags;
    }

    struct Basic {
        int104 principal;
        uint64 baseTrackingIndex;
        uint64 baseTrackingAccrued;
        uint16 assetsIn;
        uint8 _reserved;
    }

    struct Held {
        uint128 balance;
        uint128 _reserved;
    }

    event Supply(address indexed from, address indexed dst, uint256 amount);
    event Withdraw(address indexed src, address indexed to, uint256 amount);
    event Transfer(address indexed from, address indexed to, uint256 amount);
    event SupplyCollateral(address indexed from, address indexed dst, address indexed asset, uint256 amount);
    event WithdrawCollateral(address indexed src, address indexed to, address indexed asset, uint256 amount);
    event TransferCollateral(address indexed from, address indexed to, address indexed asset, uint256 amount);
    event AbsorbDebt(address indexed absorber, address indexed borrower, uint256 basePaidOut, uint256 usdValue);
    event AbsorbCollateral(
        address indexed absorber,
        address indexed borrower,
        address indexed asset,
        uint256 collateralAbsorbed,
        uint256 usdValue
    );
    event BuyCollateral(address indexed buyer, address indexed asset, uint256 baseAmount, uint256 collateralAmount);

    uint256 constant INDEX_SCALE = 1e15;
    uint256 constant FACTOR_SCALE = 1e18;

    address public immutable baseToken;
    address public immutable baseTokenPriceFeed;
    uint256 public immutable baseScale;
    uint8 public immutable decimals;
    uint256 public immutable storeFrontPriceFactor;
    uint256 public immutable targetReserves;
    string public symbol;

    Totals internal totals;
    Asset[] internal assets;
    uint64 public ratePerSecond;
    mapping(address => Basic) public userBasic;
    mapping(address => mapping(address => Held)) public userCollateral;

    constructor(
        string memory symbol_,
        address base,
        address feed,
        uint8 decimals_,
        uint64 rate,
        uint256 storeFront,
        uint256 target,
        Asset[] memory list
    ) {
        symbol = symbol_;
        baseToken = base;
        baseTokenPriceFeed = feed;
        decimals = decimals_;
        baseScale = 10 ** decimals_;
        ratePerSecond = rate;
        storeFrontPriceFactor = storeFront;
        targetReserves = target;
        totals.baseSupplyIndex = uint64(INDEX_SCALE);
        totals.baseBorrowIndex = uint64(INDEX_SCALE);
        totals.lastAccrualTime = uint40(block.timestamp);
        for (uint256 i = 0; i < list.length; i++) {
            assets.push(list[i]);
        }
    }

    // --- what readers ask ---

    function totalsBasic() external view returns (Totals memory) {
        return totals;
    }

    function numAssets() external view returns (uint8) {
        return uint8(assets.length);
    }

    function getAssetInfo(uint8 i) public view returns (AssetInfo memory) {
        Asset memory a = assets[i];
        return AssetInfo(
            i,
            a.asset,
            a.priceFeed,
            a.scale,
            a.borrowCollateralFactor,
            a.liquidateCollateralFactor,
            a.liquidationFactor,
            type(uint128).max
        );
    }

    function getPrice(address feed) public view returns (uint256) {
        (, int256 price,,,) = IFeed(feed).latestRoundData();
        require(price > 0, "BadPrice");
        return uint256(price);
    }

    function getUtilization() public view returns (uint256) {
        uint256 supplied = (uint256(totals.totalSupplyBase) * totals.baseSupplyIndex) / INDEX_SCALE;
        uint256 borrowed = (uint256(totals.totalBorrowBase) * totals.baseBorrowIndex) / INDEX_SCALE;
        return supplied == 0 ? 0 : (borrowed * FACTOR_SCALE) / supplied;
    }

    function getBorrowRate(uint256) public view returns (uint64) {
        return ratePerSecond;
    }

    function getSupplyRate(uint256) public view returns (uint64) {
        return ratePerSecond / 2;
    }

    function getReserves() public view returns (int256) {
        (uint64 supplyIndex, uint64 borrowIndex) = accruedIndices();
        uint256 balance = IToken(baseToken).balanceOf(address(this));
        uint256 supplied = (uint256(totals.totalSupplyBase) * supplyIndex) / INDEX_SCALE;
        uint256 borrowed = (uint256(totals.totalBorrowBase) * borrowIndex) / INDEX_SCALE;
        return int256(balance) - int256(supplied) + int256(borrowed);
    }

    function getCollateralReserves(address asset) public view returns (uint256) {
        return IToken(asset).balanceOf(address(this)) - held[asset];
    }

    function borrowBalanceOf(address account) external view returns (uint256) {
        (, uint64 borrowIndex) = accruedIndices();
        int104 principal = userBasic[account].principal;
        return principal < 0 ? (uint256(uint104(-principal)) * borrowIndex) / INDEX_SCALE : 0;
    }

    function balanceOf(address account) external view returns (uint256) {
        (uint64 supplyIndex,) = accruedIndices();
        int104 principal = userBasic[account].principal;
        return principal > 0 ? (uint256(uint104(principal)) * supplyIndex) / INDEX_SCALE : 0;
    }

    function isAbsorbPaused() public view returns (bool) {
        return totals.pauseFlags & (1 << 3) != 0;
    }

    function isLiquidatable(address account) public view returns (bool) {
        return userBasic[account].principal < 0 && !covered(account, true);
    }

    function isBorrowCollateralized(address account) public view returns (bool) {
        return userBasic[account].principal >= 0 || covered(account, false);
    }

    function quoteCollateral(address asset, uint256 baseAmount) public view returns (uint256) {
        Asset memory a = assetOf(asset);
        uint256 discount = (storeFrontPriceFactor * (FACTOR_SCALE - a.liquidationFactor)) / FACTOR_SCALE;
        uint256 price = (getPrice(a.priceFeed) * (FACTOR_SCALE - discount)) / FACTOR_SCALE;
        return (getPrice(baseTokenPriceFeed) * baseAmount * a.scale) / price / baseScale;
    }

    // --- what users do ---

    function supplyTo(address dst, address asset, uint256 amount) external {
        IToken(asset).transferFrom(msg.sender, address(this), amount);
        if (asset == baseToken) {
            accrue();
            emit Supply(msg.sender, dst, amount);
            setPresent(dst, present(dst) + int256(amount));
        } else {
            setCollateral(dst, asset, userCollateral[dst][asset].balance + uint128(amount));
            held[asset] += amount;
            emit SupplyCollateral(msg.sender, dst, asset, amount);
        }
    }

    function withdraw(address asset, uint256 amount) external {
        accrue();
        if (asset == baseToken) {
            emit Withdraw(msg.sender, msg.sender, amount);
            setPresent(msg.sender, present(msg.sender) - int256(amount));
        } else {
            setCollateral(msg.sender, asset, userCollateral[msg.sender][asset].balance - uint128(amount));
            held[asset] -= amount;
            emit WithdrawCollateral(msg.sender, msg.sender, asset, amount);
        }
        require(isBorrowCollateralized(msg.sender), "NotCollateralized");
        IToken(asset).transfer(msg.sender, amount);
    }

    function transferAsset(address dst, address asset, uint256 amount) external {
        require(dst != msg.sender, "NoSelfTransfer");
        accrue();
        if (asset == baseToken) {
            setPresent(msg.sender, present(msg.sender) - int256(amount));
            setPresent(dst, present(dst) + int256(amount));
        } else {
            setCollateral(msg.sender, asset, userCollateral[msg.sender][asset].balance - uint128(amount));
            setCollateral(dst, asset, userCollateral[dst][asset].balance + uint128(amount));
            emit TransferCollateral(msg.sender, dst, asset, amount);
        }
        require(isBorrowCollateralized(msg.sender), "NotCollateralized");
    }

    function absorb(address absorber, address[] calldata accounts) external {
        require(!isAbsorbPaused(), "Paused");
        accrue();
        for (uint256 n = 0; n < accounts.length; n++) {
            absorbOne(absorber, accounts[n]);
        }
    }

    function buyCollateral(address asset, uint256 minimum, uint256 baseAmount, address to) external {
        int256 reserves = getReserves();
        require(reserves < 0 || uint256(reserves) < targetReserves, "NotForSale");
        IToken(baseToken).transferFrom(msg.sender, address(this), baseAmount);
        uint256 amount = quoteCollateral(asset, baseAmount);
        require(amount >= minimum && amount <= getCollateralReserves(asset), "InsufficientReserves");
        IToken(asset).transfer(to, amount);
        emit BuyCollateral(msg.sender, asset, baseAmount, amount);
    }

    function accrueAccount(address) external {
        accrue();
    }

    /// The flags of supplying, transferring and withdrawing are kept and stop nothing here.
    function pause(bool supplying, bool transferring, bool withdrawing, bool absorbing, bool buying) external {
        totals.pauseFlags = (supplying ? 1 : 0) | (transferring ? 2 : 0) | (withdrawing ? 4 : 0)
            | (absorbing ? 8 : 0) | (buying ? 16 : 0);
    }

    function setRate(uint64 rate) external {
        accrue();
        ratePerSecond = rate;
    }

    // --- inside ---

    mapping(address => uint256) internal held; // collateral that belongs to accounts

    function absorbOne(address absorber, address account) internal {
        require(isLiquidatable(account), "NotLiquidatable");
        int256 before = present(account);
        uint256 credit = 0;
        for (uint256 i = 0; i < assets.length; i++) {
            Asset memory a = assets[i];
            uint256 amount = userCollateral[account][a.asset].balance;
            if (amount == 0) continue;
            uint256 value = (amount * getPrice(a.priceFeed)) / a.scale;
            credit += (value * a.liquidationFactor) / FACTOR_SCALE;
            setCollateral(account, a.asset, 0);
            held[a.asset] -= amount;
            emit AbsorbCollateral(absorber, account, a.asset, amount, value);
        }
        uint256 basePrice = getPrice(baseTokenPriceFeed);
        int256 afterwards = before + int256((credit * baseScale) / basePrice);
        if (afterwards < 0) afterwards = 0;
        uint256 paid = uint256(afterwards - before);
        emit AbsorbDebt(absorber, account, paid, (paid * basePrice) / baseScale);
        setPresent(account, afterwards);
    }

    function assetOf(address asset) internal view returns (Asset memory) {
        for (uint256 i = 0; i < assets.length; i++) {
            if (assets[i].asset == asset) return assets[i];
        }
        revert("BadAsset");
    }

    function accruedIndices() internal view returns (uint64, uint64) {
        uint256 elapsed = block.timestamp - totals.lastAccrualTime;
        uint256 utilization = getUtilization();
        uint256 supplyIndex = totals.baseSupplyIndex;
        uint256 borrowIndex = totals.baseBorrowIndex;
        supplyIndex += (supplyIndex * (getSupplyRate(utilization) * elapsed)) / FACTOR_SCALE;
        borrowIndex += (borrowIndex * (getBorrowRate(utilization) * elapsed)) / FACTOR_SCALE;
        return (uint64(supplyIndex), uint64(borrowIndex));
    }

    function accrue() internal {
        (totals.baseSupplyIndex, totals.baseBorrowIndex) = accruedIndices();
        totals.lastAccrualTime = uint40(block.timestamp);
    }

    /// Whether collateral covers the debt. As in Comet, feeds are asked in the order of the assets,
    /// and no further one once it does.
    function covered(address account, bool liquidate) internal view returns (bool) {
        int256 sum = (present(account) * int256(getPrice(baseTokenPriceFeed))) / int256(baseScale);
        for (uint256 i = 0; i < assets.length; i++) {
            Asset memory a = assets[i];
            uint256 amount = userCollateral[account][a.asset].balance;
            if (amount == 0) continue;
            if (sum >= 0) return true;
            uint256 factor = liquidate ? a.liquidateCollateralFactor : a.borrowCollateralFactor;
            sum += int256((((amount * getPrice(a.priceFeed)) / a.scale) * factor) / FACTOR_SCALE);
        }
        return sum >= 0;
    }

    function present(address account) internal view returns (int256) {
        int256 principal = userBasic[account].principal;
        if (principal >= 0) {
            return int256((uint256(principal) * totals.baseSupplyIndex) / INDEX_SCALE);
        }
        return -int256((uint256(-principal) * totals.baseBorrowIndex) / INDEX_SCALE);
    }

    /// As in Comet, Transfer tells of supply that comes or goes, and nothing of debt that does: base
    /// handed on by a borrower leaves no event of its own.
    function setPresent(address account, int256 value) internal {
        int104 old = userBasic[account].principal;
        int104 principal;
        if (value >= 0) {
            principal = int104(int256((uint256(value) * INDEX_SCALE) / totals.baseSupplyIndex));
        } else {
            uint256 owed = totals.baseBorrowIndex;
            principal = -int104(int256((uint256(-value) * INDEX_SCALE + owed - 1) / owed));
        }
        totals.totalSupplyBase = totals.totalSupplyBase + positive(principal) - positive(old);
        totals.totalBorrowBase = totals.totalBorrowBase + positive(-principal) - positive(-old);
        userBasic[account].principal = principal;
        uint256 index = totals.baseSupplyIndex;
        if (positive(principal) > positive(old)) {
            uint256 more = positive(principal) - positive(old);
            emit Transfer(address(0), account, (more * index) / INDEX_SCALE);
        } else if (positive(principal) < positive(old)) {
            uint256 less = positive(old) - positive(principal);
            emit Transfer(account, address(0), (less * index) / INDEX_SCALE);
        }
    }

    function positive(int104 value) internal pure returns (uint104) {
        return value > 0 ? uint104(value) : 0;
    }

    function setCollateral(address account, address asset, uint128 amount) internal {
        for (uint256 i = 0; i < assets.length; i++) {
            if (assets[i].asset != asset) continue;
            Basic storage basic = userBasic[account];
            // 24 assets: the low 16 in assetsIn, the others in the reserved byte.
            if (i < 16) {
                uint16 bit = uint16(1 << i);
                basic.assetsIn = amount == 0 ? basic.assetsIn & ~bit : basic.assetsIn | bit;
            } else {
                uint8 bit = uint8(1 << (i - 16));
                basic._reserved = amount == 0 ? basic._reserved & ~bit : basic._reserved | bit;
            }
            userCollateral[account][asset].balance = amount;
            return;
        }
        revert("BadAsset");
    }
}
