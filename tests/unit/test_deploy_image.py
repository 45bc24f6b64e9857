"""What `docker build` sees of this folder: everything that is kept, and no secret that lies beside it."""

from __future__ import annotations

import subprocess
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

from tradealgo.bus import acl

ROOT = Path(__file__).resolve().parents[2]


def is_left_out(name: str) -> bool:
    """By `.dockerignore`, of whose patterns only two kinds are used: `**/NAME` anywhere, and NAME at the top."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    parts = PurePosixPath(name).parts
    for pattern in (line for line in lines if line and not line.startswith("#")):
        anywhere = pattern.removeprefix("**/")
        assert "/" not in anywhere, pattern
        if any(fnmatch(part, anywhere) for part in (parts if anywhere != pattern else parts[:1])):
            return True
    return False


@pytest.mark.parametrize(
    "name", [".env", "deploy/.env", ".git/config", "runs/x/tokens/AB1234.json", "mine/record.db",
             *(f"bus/{name}" for name in acl.files(dict.fromkeys([*acl.RIGHTS, acl.ADMIN], ""), "redis://h"))],
)  # fmt: skip
def test_no_secret_gets_into_an_image(name: str) -> None:
    """`.env` lies beside the Dockerfile's context, as docs/live.md says to put it there; an image is pushed to a registry."""
    assert is_left_out(name)


def test_what_is_kept_gets_into_it() -> None:
    """Every file under version control."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert [name for name in listed.stdout.splitlines() if is_left_out(name)] == []
