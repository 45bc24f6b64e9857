"""The repository keeps its own promises: imports go one way, environment.yml follows pyproject.toml, the lock has no addresses."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tradealgo"

#: What each part may import of ours, beyond itself.
SHARED = {"config", "control", "process"}
ALLOWED = {
    "domain": set(),
    "bus": {"domain", "config"},
    "strategies": {"domain", "config", "sources"},
    "sentinel": {"domain", "bus"} | SHARED,
    "producer": {"domain", "bus", "sources"} | SHARED,
    "consumer": {"domain", "bus", "strategies", "sources"} | SHARED,
    "gatekeeper": {"domain", "bus"} | SHARED,
    "journal": {"domain", "bus"} | SHARED,
    "monitor": {"domain", "bus"} | SHARED,
    "exchange": {"domain", "bus"} | SHARED,
}


def imports(path: Path) -> set[str]:
    """Our parts that a file imports: the word behind `tradealgo.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "tradealgo" else [node.module]
        found |= {n.split(".")[1] for n in names if n.startswith("tradealgo.")}
    return found


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_go_one_way(part):
    """A part imports only what DESIGN allows: domain nothing, the modules never each other."""
    for path in (PACKAGE / part).rglob("*.py"):
        extra = imports(path) - ALLOWED[part] - {part, "__version__"}
        assert not extra, f"{path.relative_to(ROOT)} imports {sorted(extra)}"


def test_only_the_gatekeeper_can_place_orders():
    """Nothing else of ours reaches a broker call that places, modifies or cancels (the paper exchange receives them)."""
    pattern = re.compile(r"\.(place_order|modify_order|cancel_order)\(")
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in {"gatekeeper", "exchange"}:
            assert not pattern.search(path.read_text()), path


def names_of(requirements: list[str]) -> set[str]:
    """Bare, normalised package names."""
    return {re.split(r"[\s<>=\[;!~]", r.strip(), maxsplit=1)[0].lower().replace("_", "-") for r in requirements}


def test_environment_yml_follows_pyproject():
    """conda users get the same packages; the Python Redis client is called redis-py there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line.split("#")[0].strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    listed = names_of([line[2:] for line in lines if line.startswith("- ") and not line.endswith(":")])
    listed = {"redis" if n == "redis-py" else n for n in listed}
    assert names_of(project["dependencies"]) <= listed
    assert listed - names_of(project["dependencies"]) <= {
        "conda-forge",
        "python",
        "pip",
        "redis-server",
        "hiredis",
        "-e",
    }


def test_lock_is_hashed_and_without_addresses():
    """Every pinned package has a hash, and no line names where it is fetched from."""
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    blocks = re.split(r"\n(?=[a-z0-9])", lock)
    assert len(blocks) > 100
    assert all("--hash=sha256:" in b for b in blocks if "==" in b)


def test_lock_holds_every_dependency():
    """pyproject.toml names nothing that the lock lacks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = names_of(re.findall(r"^[A-Za-z0-9_.-]+==", (ROOT / "requirements.lock").read_text(), re.M))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    assert names_of(wanted) <= locked


def test_make_help_describes_every_target():
    """`make help` lists the commands that other people's scripts call."""
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ["help", "setup", "lab", "demo", "test", "check", "bench", "bench-quick", "soak", "clean"]:
        assert re.search(rf"\b{target}\b", text), target


def test_no_machine_paths_or_secrets():
    """No tracked file holds a home folder of somebody's machine."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pattern = re.compile(r"/(home|Users)/[a-z]+/|/root/")
    for name in files:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".js", ".html", ".json", ".lock"} and path != Path(
            __file__
        ):
            assert not pattern.search(path.read_text()), name
