"""Compiled code on disk is that of the sources that are there: of every file that it is made of."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tradealgo
from tradealgo.sources import modules_of, stamp

INDEX = struct.pack(">7i", 256_265, 2_500_000, 2_510_000, 2_490_000, 2_495_000, 2_480_000, 5)  # a packet of NIFTY 50
FLAGS = """
import sys
from tradealgo.domain.ticks import FLAG_INDEX
from tradealgo.producer.packets import decode_frame
print(int(decode_frame(bytes.fromhex(sys.argv[1]))[0]["flags"][0]), FLAG_INDEX)
"""


@pytest.mark.parametrize(
    ("user", "used"),
    [
        ("producer.packets", {"domain.ticks", "producer.packets_plain", "domain.instruments"}),
        ("consumer.fold_compiled", {"consumer.fold", "domain.ticks"}),
        ("research.sweep_loop", {"research.simulate", "domain.charges", "strategies.structs", "strategies.guard"}),
    ],
)
def test_a_stamp_is_of_all_that_is_imported(user: str, used: set[str]) -> None:
    """Constants and functions of other files are in the machine code."""
    found = modules_of(f"tradealgo.{user}")
    assert {f"tradealgo.{name}" for name in used | {user}} <= found.keys()
    assert all(
        text == Path(sys.modules[n].__file__ or "").read_bytes() for n, text in found.items() if n in sys.modules
    )


def test_a_stamp_changes_with_a_file_far_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is the same where nothing has changed."""
    name = "tradealgo.producer.packets"
    before, read = stamp(name), Path.read_bytes
    assert before == stamp(name) != 0
    changed = lambda path: read(path) + (b"\n" if path.name == "instruments.py" else b"")  # noqa: E731
    monkeypatch.setattr(Path, "read_bytes", changed)
    assert stamp(name) != before


def test_the_decoder_is_compiled_anew_when_a_constant_of_another_file_changes(tmp_path: Path) -> None:
    """In a copy of the package, by a process before the change and one after it, with one cache."""
    copy = tmp_path / "tradealgo"
    shutil.copytree(
        Path(tradealgo.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "static", "*.js")
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def flags() -> list[int]:
        command = [sys.executable, "-c", FLAGS, (struct.pack(">HH", 1, len(INDEX)) + INDEX).hex()]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [int(word) for word in done.stdout.split()]

    found, constant = flags()
    assert found == constant
    source = copy / "domain" / "ticks.py"
    text = source.read_text()
    assert f"FLAG_INDEX = {constant}\n" in text
    source.write_text(text.replace(f"FLAG_INDEX = {constant}\n", f"FLAG_INDEX = {constant + 64}\n"))
    assert flags() == [constant + 64] * 2
