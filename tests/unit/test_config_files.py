"""Files of a session and an account that are damaged: one sentence or none there, never an unheard-of error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradealgo.config import BrokerSession, SessionDir, token_file
from tradealgo.domain.errors import BadConfig, SessionNotFound
from tradealgo.gatekeeper.lease import holder, lease_file

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
