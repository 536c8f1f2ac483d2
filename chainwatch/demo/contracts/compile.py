"""Compiles the Solidity sources beside it into `contracts.json`: `python compile.py SOLC`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUTPUT = HERE / "contracts.json"
VERSION = "0.8.27"
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "shanghai",
    # Without the metadata hash the bytecode depends on the sources' meaning only.
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
}
RUN = (
    "const solc = require(process.argv[1]);"
    "const input = require('fs').readFileSync(0, 'utf8');"
    "console.log(JSON.stringify([solc.version(), JSON.parse(solc.compile(input))]))"
)


def build(solc: Path) -> str:
    """Compile with the `solc` npm package at that folder and return the text of the JSON file."""
    sources = {path.name: {"content": path.read_text()} for path in sorted(HERE.glob("*.sol"))}
    job = {"language": "Solidity", "sources": sources, "settings": SETTINGS}
    command = ["node", "-e", RUN, str(solc.absolute())]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the compiler did not run: {done.stderr.strip()}")
    version, compiled = json.loads(done.stdout)
    if not version.startswith(f"{VERSION}+"):
        raise SystemExit(f"solc is {version}, the sources are built with {VERSION}")
    for error in compiled.get("errors", []):
        raise SystemExit(error["formattedMessage"])
    contracts = {
        name: {
            "abi": contract["abi"],
            "bytecode": contract["evm"]["bytecode"]["object"],
            "runtime": contract["evm"]["deployedBytecode"]["object"],
        }
        for file, by_name in compiled["contracts"].items()
        for name, contract in by_name.items()
        if file == f"{name}.sol"
    }
    document = {"compiler": version, "settings": SETTINGS, "contracts": contracts}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} FOLDER-OF-THE-SOLC-PACKAGE")
    OUTPUT.write_text(build(Path(sys.argv[1])))
