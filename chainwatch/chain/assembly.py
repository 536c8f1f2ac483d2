"""Code of the Ethereum virtual machine, put together of opcodes, values and jumps by name."""

from __future__ import annotations

from chainwatch.chain import opcodes as op


class Assembly:
    """Code with jumps to places by name; `bytes()` of it is the code."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._places: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def add(self, *parts: int | bytes) -> None:
        """Opcodes (numbers), and values to push (bytes, 1 to 32)."""
        for part in parts:
            if isinstance(part, int):
                self._code.append(part)
            else:
                self._code += bytes([op.PUSH1 - 1 + len(part)]) + part

    def place(self, name: str) -> None:
        """Jumps to this name lead here."""
        self._places[name] = len(self._code)
        self.add(op.JUMPDEST)

    def push_place(self, name: str) -> None:
        """Push where a place is, also one that comes later."""
        self._code.append(op.PUSH2)
        self._jumps.append((len(self._code), name))
        self._code += bytes(2)

    def jump(self, name: str, opcode: int) -> None:
        """A jump to a name."""
        self.push_place(name)
        self.add(opcode)

    def __bytes__(self) -> bytes:
        code = bytearray(self._code)
        for where, name in self._jumps:
            code[where : where + 2] = self._places[name].to_bytes(2)
        return bytes(code)
