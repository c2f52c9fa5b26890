"""What is installed is whole, the base install needs next to nothing, and a missing extra is named."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Only the standard library, the base install's two dependencies and our own packages can be imported.
_BLOCKER = """
import sys
class Blocker:
    allowed = {"llmtrail", "llmtrail_ingest", "llmtrail_web", "msgspec", "orjson"}
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in self.allowed or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
sys.meta_path.insert(0, Blocker())
"""
SDK_MODULES = sorted(
    path.relative_to(ROOT / "src").with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for folder in ("core", "emit")
    for path in (ROOT / "src" / "llmtrail" / folder).rglob("*.py")
)


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _BLOCKER + code], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )


def test_the_sdk_needs_none_of_the_extras() -> None:
    done = _python("import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in SDK_MODULES))
    assert done.returncode == 0, done.stderr


def test_recording_a_call_needs_none_of_the_extras() -> None:
    done = _python(
        "import llmtrail\n"
        "llmtrail.configure(url='http://127.0.0.1:9', spool=None)\n"
        "with llmtrail.request(request_id='r-1'):\n"
        "    llmtrail.record(request_model='m', output='text')\n"
        "print('recorded')\n"
    )
    assert (done.returncode, done.stdout) == (0, "recorded\n"), done.stderr


@pytest.mark.parametrize("module", ["llmtrail.store.handle", "llmtrail.testing.provider"])
def test_a_missing_extra_is_named_with_its_install_line(module: str) -> None:
    done = _python(f"import {module}")
    last = done.stderr.strip().splitlines()[-1].replace('"', "'")
    assert last.startswith("ImportError")
    assert "pip install 'llmtrail[embedded]'" in last


def test_the_command_says_what_it_needs() -> None:
    done = _python("import runpy\nrunpy.run_module('llmtrail', run_name='__main__')")
    assert done.returncode == 2
    assert done.stderr == "the llmtrail command needs typer: pip install 'llmtrail[embedded]'\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the sdist, built as a release would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=ROOT)
    return folder


def test_the_wheel_holds_every_room_and_every_contract(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    for room in ("ingest", "web"):
        folder = ROOT / "services" / room
        wanted |= {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    wanted |= {
        f"llmtrail/_schemas/{path.relative_to(ROOT / 'schemas').as_posix()}"
        for path in (ROOT / "schemas").rglob("*")
        if path.is_file()
    }
    wanted |= {f"{room}/py.typed" for room in ("llmtrail", "llmtrail_ingest", "llmtrail_web")}
    assert wanted - held == set()
    assert not [name for name in held if name.startswith("tests/") or name.endswith(".pyc")]


def test_the_installed_package_finds_its_contracts(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from llmtrail.schemas import schema_folder;"
        "print(schema_folder(), len(list((schema_folder() / 'clickhouse').glob('*.sql'))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
    folder, migrations = done.stdout.rsplit(maxsplit=1)
    assert Path(folder) == tmp_path / "llmtrail" / "_schemas"
    assert int(migrations) == len(list((ROOT / "schemas" / "clickhouse").glob("*.sql"))) > 0


def test_the_sdist_can_be_built_and_tested(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"pyproject.toml", "LICENSE", "README.md", "Makefile", "requirements.lock", "tests/conftest.py"}
    assert wanted <= held
    assert any(name.startswith("schemas/clickhouse/") for name in held)


def test_the_version_stands_in_the_changelog() -> None:
    from importlib.metadata import version  # noqa: PLC0415 - read where it is used.

    assert f"## {version('llmtrail')}" in (ROOT / "CHANGELOG.md").read_text()
