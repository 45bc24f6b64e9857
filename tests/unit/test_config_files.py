"""Files of a session and an account that are damaged: one sentence or none there, never an unheard-of error."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tradealgo.config import BrokerSession, Manifest, Mode, SessionDir, home, lease_file, token_file
from tradealgo.domain.errors import BadConfig, SessionNotFound
from tradealgo.domain.sizing import Sizing
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


@pytest.mark.parametrize(
    "url", ["redis://me:hunter2/x@h:6379", "redis://me:hun#ter2@h:6379", "h:6379", "http://h:6379"]
)
def test_a_bus_url_that_cannot_be_read_is_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part of a password in a log or a cell; one that is written as URLs have it is taken."""
    manifest = Manifest(
        session_id="s", mode=Mode.PAPER, account="A", strategy="m:C", parameters={}, instruments=(), capital=1.0,
        sizing=Sizing(units=1),
    )  # fmt: skip
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(BadConfig, match="REDIS_URL can't be read: expected") as error:
        manifest.resolved_bus_url()
    assert "hun" not in str(error.value)
    monkeypatch.setenv("REDIS_URL", "rediss://me:hunter%2F@h:6379/0")
    assert manifest.resolved_bus_url() == "rediss://me:hunter%2F@h:6379/0"


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in between leaves none, so that the folder is no session; a second one is refused."""
    folder = SessionDir(tmp_path / "s")
    manifest = Manifest(
        session_id="s", mode=Mode.PAPER, account="A", strategy="m:C", parameters={}, instruments=("NSE:INFY",),
        capital=1.0, sizing=Sizing(lots=1),
    )  # fmt: skip

    def crash(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space left"):
        folder.write_manifest(manifest)
    monkeypatch.undo()
    assert not folder.manifest.exists()
    folder.write_manifest(manifest)
    assert folder.read_manifest() == manifest
    with pytest.raises(FileExistsError):
        folder.write_manifest(manifest)
