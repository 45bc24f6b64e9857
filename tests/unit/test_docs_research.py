"""docs/research.md claims only what its own code shows."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.timeout(300)
def test_every_block_of_the_research_page_runs(tmp_path, monkeypatch):
    """In order, in one namespace, as a reader would."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "research.md").read_text(), re.S)
    assert len(blocks) >= 12
    namespace = {"__name__": "docs"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/research.md, block {number}", "exec"), namespace)
    assert sum(block.count("assert ") for block in blocks) >= 14
