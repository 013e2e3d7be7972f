"""Which keys does a config have, and of which type?"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class PathsConfig:
    """Where things lie on this machine; never part of a run's identity."""

    data: str = MISSING
    """Folder of the public data sets, one folder each."""
    runs: str = MISSING
    """Folder of the runs, one folder each, named by run id."""
    stores: str = MISSING
    """Folder of the decoded, memory-mapped images."""
    tables: str = MISSING
    """Folder the rendered tables are written to."""


@dataclass
class TrainerConfig:
    """How long and how precisely to train (scientific), and on what (engine)."""

    max_epochs: int = 10
    max_steps: int = -1
    """Optimiser steps; -1 = as many as the epochs hold; 0 = none: the model is evaluated as it starts."""
    precision: str = "32-true"
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    check_val_every_n_epoch: int = 1
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    accumulate_grad_batches: int = 1
    """The global batch is cut into this many parts per device; it does not change the result's meaning."""
    deterministic: bool = True
    log_every_n_steps: int = 10
    enable_progress_bar: bool = True
    profiler: str | None = None
    detect_anomaly: bool = False


@dataclass
class CheckpointConfig:
    """How often the resume point is written; never part of a run's identity."""

    every_seconds: float = 60.0
    every_steps: int | None = None
    """Also after every so many optimiser steps; None = by time alone."""
    use: str = "best"
    """best | final: which weights are evaluated."""
    when_busy: str = "wait"
    """wait | leave: what to do when another process computes the same run."""


PICTURES_DOUBLING = "doubling"


@dataclass
class TrackingConfig:
    """What is written to look at a run while it trains; never part of a run's identity."""

    pictures_every: Any = PICTURES_DOUBLING
    """doubling | <number> | null: pictures and page at the 1st, 2nd, 4th, 8th ... validation, or at every so many, and
    at the first and the last; null = none."""
    pictures: int = 8
    """Radiographs of each kind of picture."""


@dataclass
class Config:
    """The root of every cxrvl config."""

    debug: str | None = None
    """Which debug group was chosen (debug=limit); what the run starts from is then a debug run, too."""
    name: str = MISSING
    """Label for listings and tables, such as phantom/acm; not part of the identity."""
    seed: int = 0
    threads: int = 1
    """CPU threads of the training process; part of the identity, since sums depend on it."""
    data: dict[str, Any] = MISSING
    model: dict[str, Any] = MISSING
    task: dict[str, Any] = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    """Extra Lightning callbacks by name; part of the identity."""
    logger: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Evaluators by name; outside the run's identity, each has its own."""
    init_from: Any = None
    """Weights to start from: {run: <overrides, or a run id>}, {file: <checkpoint>} or {published: <name>}, or a list.

    `parts` selects parts that the tasks declare: [encoder], or {encoder: <part of the other model>}; without it the
    whole model is taken. `use` says which weights of a run: best | final. `layout` says whose code wrote a file: distl.
    A run that is not there is made first; this is part of the identity, as that run's id or the file's content.
    Resuming this very run is automatic, and no such key.
    In a list of several, each names its `parts`; none may be given twice or lie within another, and the order means
    nothing. On the command line the whole list is given, each override in quotes, as in
    'init_from=[{run:"experiment=a seed=0",parts:{image_tower:backbone}},{run:["experiment=b"],parts:[text_tower]}]';
    in front of it init_from=null, where the config starts from something already. init_from.0.parts={...} changes one
    key of one element.
    """
    paths: PathsConfig = field(default_factory=PathsConfig)


def register() -> None:
    """Make the schema known to Hydra as `schema`, the first entry of the defaults list."""
    ConfigStore.instance().store(name="schema", node=Config)
