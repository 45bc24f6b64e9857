"""Files of a session and an account that are damaged: one sentence or none there, never an unheard-of error."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tradealgo.config import BrokerSession, SessionDir, home, lease_file, token_file
from tradealgo.domain.errors import BadConfig, SessionNotFound
from tradealgo.gatekeeper.lease import holder

DAMAGED = [b"", b"{", b"[]", b'{"account": "\xff"}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_manifest_is_named(content: bytes, tmp_path: Path) -> None:
    """One that isn't there is another matter."""
    folder = SessionDir(tmp_path)
    with pytest.raises(SessionNotFound):
        folder.read_manifest()
    folder.manifest.write_bytes(content)
    with pytest.raises(BadConfig, match="is not a manifest of this version"):
        folder.read_manifest()


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_login_or_lease_is_none(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Sentinel logs in again, and nobody is named as the holder."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    for file in (token_file("A"), lease_file("A")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert BrokerSession.load("A") is None
    assert holder("A") is None


def test_a_relative_home_is_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that are started from here as well, whose working folder is the session's: an account has one lease."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADEALGO_HOME", "a/home")
    assert home() == tmp_path / "a" / "home"
    monkeypatch.chdir("/")
    assert lease_file("A").is_relative_to(tmp_path)
    assert os.environ["TRADEALGO_HOME"] == str(tmp_path / "a" / "home")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRADEALGO_HOME", "~/quoted")
    assert home() == tmp_path / "quoted"


def test_sockets_behind_somebody_elses_link_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a shared /tmp anybody can make a link of that name to a folder of ours, and turn it elsewhere later."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = SessionDir(tmp_path / "session")
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    folder.sockets_path.symlink_to(own)
    assert not folder.has_sockets
    with pytest.raises(BadConfig, match="is not private to this user"):
        _ = folder.sockets
    folder.sockets_path.unlink()
    assert folder.sockets.is_dir()
    assert folder.has_sockets


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_sockets_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that has ended isn't taken for one that runs because another user answers in its place."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = SessionDir(tmp_path / "session")
    os.chown(folder.sockets, 65534, 65534)
    assert not folder.has_sockets
