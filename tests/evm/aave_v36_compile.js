// Compiles what a market of Aave v3.6 is made of: `node aave_v36_compile.js FOLDER`, a folder with
// node_modules. Leaves FOLDER/artifacts/contracts/X.sol/X.json in Hardhat's format.
const fs = require("fs");
const path = require("path");
const folder = path.resolve(process.argv[2]);
const modules = path.join(folder, "node_modules");
const solc = require(path.join(modules, "solc"));
const PROTOCOL = "@aave-dao/aave-v3-origin/src/contracts/";
const WANTED = [
  "protocol/configuration/PoolAddressesProvider",
  "protocol/configuration/ACLManager",
  "instances/PoolInstance",
  "instances/PoolConfiguratorInstance",
  "instances/ATokenInstance",
  "instances/VariableDebtTokenInstance",
  "misc/AaveOracle",
  "misc/DefaultReserveInterestRateStrategyV2",
  "helpers/AaveProtocolDataProvider",
];
// As the package's own remappings have it.
const PLACES = [
  ["openzeppelin-contracts-upgradeable/", "@openzeppelin/contracts-upgradeable/"],
  ["openzeppelin-contracts/contracts/", "@openzeppelin/contracts/"],
  ["solidity-utils/", "@bgd-labs/solidity-utils/src/"],
];

function read(name) {
  for (const [from, to] of PLACES) {
    if (name.startsWith(from)) name = to + name.slice(from.length);
  }
  try {
    return { contents: fs.readFileSync(path.join(modules, name), "utf8") };
  } catch (error) {
    return { error: String(error.message) };
  }
}

const names = WANTED.map((name) => `${PROTOCOL}${name}.sol`);
const input = {
  language: "Solidity",
  sources: Object.fromEntries(names.map((name) => [name, { content: read(name).contents }])),
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "shanghai",
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: {
      "*": { "*": ["abi", "evm.bytecode.object", "evm.bytecode.linkReferences", "evm.deployedBytecode.object"] },
    },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
const errors = (output.errors || []).filter((each) => each.severity === "error");
if (errors.length) {
  console.error(errors[0].formattedMessage);
  process.exit(1);
}
for (const [file, contracts] of Object.entries(output.contracts)) {
  for (const [name, { abi, evm }] of Object.entries(contracts)) {
    if (!file.startsWith(PROTOCOL) || !file.endsWith(`/${name}.sol`) || !evm.bytecode.object) continue;
    const target = path.join(folder, "artifacts", "contracts", `${name}.sol`);
    fs.mkdirSync(target, { recursive: true });
    const artifact = {
      abi,
      bytecode: `0x${evm.bytecode.object}`,
      deployedBytecode: `0x${evm.deployedBytecode.object}`,
      linkReferences: evm.bytecode.linkReferences,
    };
    fs.writeFileSync(path.join(target, `${name}.json`), JSON.stringify(artifact));
  }
}
