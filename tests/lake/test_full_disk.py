"""A disk that is full: one plain line and exit code 5, and nothing that was stored is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chainwatch.errors import Exit
from chainwatch.lake.store import Store
from chainwatch.tables.lending import Snapshot
from tests import shell
from tests.builders import Asset, Book, fill, small_file_system
from tests.nightly.test_nightly import NOW


def assert_full(done: shell.Done) -> None:
    """Exit code 5, and of a quiet command one line at the most, which names the disk."""
    assert done.code == Exit.STORE, done.err
    assert "unexpected" not in done.err + done.out
    assert len(done.lines) <= 1, done.err
    for line in done.lines:
        assert line.startswith("chainwatch: ")
        assert "is full" in line or "No space left" in line


@pytest.mark.full
@pytest.mark.parametrize("left", [0, 60_000])
def test_a_night_on_a_full_disk_is_one_line(tmp_path: Path, left: int) -> None:
    with small_file_system(disk := tmp_path / "disk") as reason:
        if reason:
            pytest.skip(reason)
        store = Store(disk / "home")
        store.create()
        made = Book(Asset("ETH", 3_000.0), Asset("USD", 1.0), block=100, time=NOW)
        made.account("a", {"ETH": 1.0}, {"USD": 100.0})
        store.append(made.rows(), source="aave-v3", target="m")
        fill(disk, leave=left)
        assert_full(shell.run("--quiet", "nightly", home=store.home))
        (disk / "filler").unlink()
        assert len(store.rows(Snapshot)) == 1
        assert shell.run("--quiet", "health", home=store.home).code == Exit.OK


@pytest.mark.full
@pytest.mark.parametrize("left", [0, 150_000])
def test_a_demo_on_a_full_disk_is_one_line(tmp_path: Path, left: int) -> None:
    with small_file_system(disk := tmp_path / "disk") as reason:
        if reason:
            pytest.skip(reason)
        fill(disk, leave=left)
        assert_full(shell.run("--quiet", "demo", "--recorded", home=disk / "home"))


@pytest.mark.full
def test_output_and_export_on_a_full_disk_are_one_line(tmp_path: Path) -> None:
    home = shell.copied_lake(tmp_path)
    with small_file_system(disk := tmp_path / "disk") as reason:
        if reason:
            pytest.skip(reason)
        fill(disk, leave=2_000)
        assert_full(
            shell.run("--quiet", "accounts", "--json", "-o", str(disk / "a.json"), home=home)
        )
        assert_full(shell.run("--quiet", "export", "--out", str(disk / "marts"), home=home))
        assert {p.name for p in disk.iterdir()} <= {"filler", "marts"}
    shutil.rmtree(home)
