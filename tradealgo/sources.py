"""What compiled code that lies on disk was made of.

numba's cache looks at the time of the one file that a function is in. What that function takes from other files of ours,
as a constant or as a function, may have changed since: it would go on with the machine code of the release before.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

_ROOT = Path(__file__).parent
_NAME = __package__ or "tradealgo"
#: Imports at a file's left edge: those in functions and for type checkers give compiled code nothing.
_IMPORT = re.compile(rf"^(?:from ({_NAME}[\w.]*) import (\([^)]*\)|.*)|import ({_NAME}[\w.]*))", re.MULTILINE)


def modules_of(name: str) -> dict[str, bytes]:
    """The text of a module, and of all of ours that it imports, at whatever depth; by name."""
    found: dict[str, bytes] = {}
    wanted = [name]
    while wanted:
        name = wanted.pop()
        file = _file(name)
        if file is None or name in found:
            continue
        found[name] = file.read_bytes()
        for module, names, plain in _IMPORT.findall(found[name].decode()):
            wanted += [module, *(f"{module}.{n}" for n in re.findall(r"\w+", names))] if module else [plain]
    return found


def stamp(name: str) -> int:
    """A number that changes when any of `modules_of` does; not 0."""
    texts = modules_of(name)
    return 1 | zlib.crc32(b"".join(texts[n] for n in sorted(texts)))


def _file(name: str) -> Path | None:
    path = _ROOT.joinpath(*name.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
