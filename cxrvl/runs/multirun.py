"""How does plain Hydra run, with its launchers, sweepers and information flags?"""

import subprocess
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cxrvl.config import resolvers, schema
from cxrvl.config.compose import config_dir
from cxrvl.errors import RunError

_failed: list[str] = []


def run_hydra(argv: Sequence[str]) -> None:
    """Hand a command line to Hydra; each job of a multirun is one `cxrvl train` in a fresh process.

    Raises:
        RunError: some jobs failed; the others ran all the same.
    """
    resolvers.register()
    schema.register()
    _failed.clear()
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(_job)
    before, sys.argv = sys.argv, ["cxrvl train", *argv]
    try:
        main()
    finally:
        sys.argv = before
    if _failed:
        raise RunError(f"{len(_failed)} job(s) failed: {'; '.join(_failed)}")


def _job(config: DictConfig) -> None:
    """Run one job of a sweep. One interpreter never trains twice: threads, seeds and devices would leak."""
    overrides = list(HydraConfig.get().overrides.task)
    done = subprocess.run([sys.executable, "-m", "cxrvl.cli", "train", *overrides], check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        _failed.append(" ".join(overrides) or "(no override)")
