"""Installed from a wheel into another folder, away from any checkout, `cxrvl` finds its configs and tables."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*arguments: str, **options) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Run Python in an empty folder with the wheel's own `cxrvl`, before the one of the checkout."""
    target, elsewhere = tmp_path_factory.mktemp("target"), tmp_path_factory.mktemp("elsewhere")
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--no-compile")
    run("-m", "pip", "install", *options, "--target", str(target), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}

    def installed(*arguments: str) -> str:
        return run(*arguments, cwd=elsewhere, env=environment)

    assert Path(installed("-c", "import cxrvl; print(cxrvl.__file__)").strip()).is_relative_to(target)
    return installed


def test_the_wheel_holds_everything_the_package_reads(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
        assert len(inside) == len(set(inside))
        for source, place in (("conf", "cxrvl/conf"), ("experiments", "cxrvl/conf/experiment"), ("cxrvl", "cxrvl")):
            for path in (REPOSITORY / source).rglob("*"):
                if path.is_file() and path.suffix in (".py", ".yaml", ".toml", ".csv"):
                    name = f"{place}/{path.relative_to(REPOSITORY / source).as_posix()}"
                    assert archive.read(name) == path.read_bytes(), name
    assert "cxrvl/conf/experiment/phantom/table.toml" in inside
    assert "cxrvl/conf/experiment/acm_chestxray14/published.csv" in inside
    assert not [name for name in inside if name.startswith(("tests/", "docs/"))]


def test_the_installed_command_finds_its_configs(installed):
    out = installed("-m", "cxrvl.cli", "check", "experiment=phantom/acm")
    assert "the config of phantom/acm is sound" in out
    assert "usage: cxrvl train" in installed("-m", "cxrvl.cli", "train", "--help")


def test_the_installed_command_finds_its_tables(installed):
    code = (
        "from cxrvl.tables.reproduce import table_spec; s = table_spec('acm_chestxray14'); "
        "print([row.name for row in s.line('resnet50').rows], len(s.published.numbers))"
    )
    rows, count = installed("-c", code).rsplit(" ", 1)
    assert "'acm'" in rows
    assert int(count) > 10
    assert "num_workers:" in installed("-m", "cxrvl.cli", "train", "--cfg", "job", "experiment=acm_chestxray14/acm")
