// Compiles Morpho Blue as it was deployed: `node morpho_compile.js FOLDER`, a folder with node_modules.
// Leaves FOLDER/artifacts/contracts/Morpho.sol/Morpho.json in Hardhat's format.
const fs = require("fs");
const path = require("path");
const folder = path.resolve(process.argv[2]);
const modules = path.join(folder, "node_modules");
const solc = require(path.join(modules, "solc"));
const MAIN = "@morpho-org/morpho-blue/src/Morpho.sol";
const EVENTS = "@morpho-org/morpho-blue/src/libraries/EventsLib.sol";

function read(name) {
  try {
    return { contents: fs.readFileSync(path.join(modules, name), "utf8") };
  } catch (error) {
    return { error: String(error.message) };
  }
}

const input = {
  language: "Solidity",
  sources: { [MAIN]: { content: read(MAIN).contents } },
  settings: {
    viaIR: true,
    optimizer: { enabled: true, runs: 999999 },
    evmVersion: "paris",
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
const errors = (output.errors || []).filter((each) => each.severity === "error");
if (errors.length) {
  console.error(errors[0].formattedMessage);
  process.exit(1);
}
const { abi, evm } = output.contracts[MAIN].Morpho;
// This compiler leaves out the events of a library.
const events = output.contracts[EVENTS].EventsLib.abi;
const target = path.join(folder, "artifacts", "contracts", "Morpho.sol");
fs.mkdirSync(target, { recursive: true });
const artifact = {
  abi: [...abi, ...events],
  bytecode: `0x${evm.bytecode.object}`,
  deployedBytecode: `0x${evm.deployedBytecode.object}`,
  linkReferences: {},
};
fs.writeFileSync(path.join(target, "Morpho.json"), JSON.stringify(artifact));
