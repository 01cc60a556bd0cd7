"""Every script of benchmarks/ is in its index and says how it is run."""

import ast
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
MODULES = ("contender.py", "macs.py", "turns.py")  # which the scripts share


def index():
    """Return the rows of the index by script."""
    lines = (BENCHMARKS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0].strip("`"): row for row in rows[2:]}


def test_index_has_every_script():
    assert sorted(index()) == [name for name in SCRIPTS if name not in MODULES]
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    for name in MODULES:
        assert f"`{name}`" in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_docstring_says_how_it_is_run(name):
    docstring = ast.get_docstring(ast.parse((BENCHMARKS / name).read_text(encoding="utf-8")))
    if name in MODULES:
        assert docstring
        return
    row = index()[name]
    assert all(row)
    assert re.search(r"minute|hour", docstring), "how long it takes"
    command = f"python benchmarks/{name}" if name != "outsiders.py" else "make outsiders"
    assert command in docstring
    for file in re.findall(r"`(\w+\.(?:csv|png))`", row[3]):
        assert (BENCHMARKS / file).is_file()
        assert file in docstring
