"""The built artefacts: their contents, and that they work without the sources. Slow: builds and installs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from a copy of the tracked files, and the wheel from that sdist, as an installer would."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: nothing to build from")
    pytest.importorskip("build")
    work = tmp_path_factory.mktemp("build")
    tracked = run("git", "ls-files", "-z", "--cached", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (work / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, work / "src" / name)
    run(sys.executable, "-m", "build", "--outdir", work / "dist", work / "src", cwd=work)
    return work / "dist"


def test_wheel_contains_both_packages_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"aelyst_async", "aelyst_providers"}
    assert {"aelyst_async/py.typed", "aelyst_providers/py.typed", "aelyst_providers/callab/wire.py"} <= names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "aelyst_async").rglob("*.html")}
    assert sources <= names, "the inspector page is missing"
    assert {f"aelyst_providers/{vendor}/openapi.json" for vendor in ("aelyst", "callab", "dmchamp")} <= names
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert "aelyst = aelyst_async.cli:main" in text
    for line in (
        "aelyst = aelyst_providers.aelyst:AelystGateway",
        "dmchamp = aelyst_providers.dmchamp:DmChampGateway",
        "callab = aelyst_providers.callab:CallabGateway",
        "dmchamp = aelyst_providers.dmchamp.sandbox:DMCHAMP",
    ):
        assert line in text
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_contains_sources_tests_and_metadata(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "tests/core/test_packaging.py",
        "providers/aelyst_providers/py.typed", "aelyst_async/py.typed",
    ):  # fmt: skip
        assert wanted in names
    assert not any("__pycache__" in name or ".venv" in name for name in names)


def test_wheel_passes_the_tests_without_the_sources(built: Path, tmp_path: Path) -> None:
    """Runs from a folder that contains the tests and no source of the library. `make wheel` installs the dependencies
    of the wheel; here those of this environment are used, which a line in a .pth file makes importable.
    """
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = run(python, "-c", "import aelyst_async, aelyst_providers; print(aelyst_async.__file__)", cwd=tmp_path)
    assert str(tmp_path) in where
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    chosen = [
        "tests/core/test_contacts.py",
        "tests/core/test_errors.py",
        "tests/core/test_registry.py",
        "tests/core/test_imports.py",
        "tests/providers/test_seeds.py",
        "tests/sandbox/test_aelyst_api.py",
        "tests/transport/test_attempts.py",
    ]
    run(python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *chosen, cwd=tmp_path)
    assert "usage: aelyst" in run(tmp_path / "venv" / "bin" / "aelyst", "--help", cwd=tmp_path)
