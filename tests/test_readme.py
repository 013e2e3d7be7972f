"""Does the README tell the truth? Its quick commands are run as printed, all others are checked in another way."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrvl.cli import COMMANDS, build_parser, main
from cxrvl.commands.train import HYDRA_FLAGS, MULTIRUN_FLAGS, with_table
from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, expand_sweep, resolved
from cxrvl.config.targets import keywords_of
from cxrvl.data.phantom.contact_sheet import overview
from cxrvl.errors import ConfigError
from cxrvl.tables.reproduce import table_spec

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CHECKOUT = ("cxrvl", "conf", "experiments", "Makefile", "pyproject.toml", "constraints.txt")
FENCE = re.compile(r"(?:^<!-- (run[^>]*) -->\n)?^```(\w+)\n(.*?)^```$(?:\n```text\n(.*?)^```$)?", re.M | re.S)
RUN_MARKERS = {"": None, "run": 0, "run, exit 2": 2}
GROUPS = {p.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf").rglob("*") if p.is_dir()} - {"experiment"}

# Between them these hold every key that a config can have without a plus sign.
BASES = (
    (),
    ("data=nih14", "data.root=/data/nih14"),
    ("model=timm", "model.backbone.name=resnet18", "model/context=acm"),
    ("task=classification_acm_release", "model=resnet50"),
    ("data=mixture",),
    ("data=phantom_pairs",),
    ("data=phantom_self_training", "model=distl_vit", "task=self_training"),
    ("data=mixture_self_training", "model=distl_vit", "task=self_training"),
    ("data=phantom_triplets", "model=text_llama_tiny", "task=contrastive_text", "evaluation=texts"),
    ("data=phantom_reports", "model=text_bert_tiny", "task=masked_text"),
    ("experiment=phantom/distl_t2",),
    ("experiment=phantom/clip_adapted",),
)


@dataclass(frozen=True)
class Block:
    """One fenced block: what it is marked as, its language and content, and the output stated behind it."""

    marker: str
    language: str
    content: str
    output: str

    def commands(self) -> list[str]:
        """Its command lines, continued ones joined, without comments."""
        lines = self.content.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


BLOCKS = [Block(*(part or "" for part in match)) for match in FENCE.findall(TEXT)]
OUTSIDE_BLOCKS = re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S)
INLINE = sorted(set(re.findall(r"`([^`\n]+)`", OUTSIDE_BLOCKS)))
NOT_RUN = [line for b in BLOCKS if b.language == "bash" and b.marker == "" for line in b.commands()]
NOT_RUN += [code for code in INLINE if code.startswith(("cxrvl ", "make ")) and code not in NOT_RUN]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a reader has in front of them, with the YAML files the README tells them to write."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name, **({"symlinks": True} if copy is shutil.copytree else {}))
    written = [block for block in BLOCKS if block.language == "yaml"]
    assert written
    for block in written:
        path = folder / block.content.split("\n", 1)[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.content.split("\n", 1)[1], encoding="utf-8")
    return folder


@pytest.fixture
def configs(checkout, monkeypatch):
    """Make this process read the configs of the copy."""
    monkeypatch.setattr("cxrvl.config.compose.config_dir", lambda: checkout / "conf")
    monkeypatch.setattr("cxrvl.tables.reproduce.config_dir", lambda: checkout / "conf")


def test_every_block_is_understood():
    assert len(BLOCKS) + sum(bool(block.output) for block in BLOCKS) == len(re.findall(r"^```\w", TEXT, re.M))
    assert {block.language for block in BLOCKS} <= {"bash", "yaml", "text", "python"}
    assert {block.marker for block in BLOCKS} <= set(RUN_MARKERS)
    assert all(block.language == "bash" for block in BLOCKS if block.marker)
    assert len(re.findall(r"^<!-- run", TEXT, re.M)) == sum(bool(block.marker) for block in BLOCKS)


def test_python_prints_what_is_stated(capsys):
    blocks = [block for block in BLOCKS if block.language == "python"]
    assert blocks
    for block in blocks:
        exec(compile(block.content, "README.md", "exec"), {})
        assert capsys.readouterr().out == block.output


@pytest.mark.slow
def test_the_quick_commands_work_as_printed(checkout, configs, capsys):
    for block in (block for block in BLOCKS if block.marker):
        commands = block.commands()
        if len(commands) == 1 and commands[0].startswith("cxrvl check "):
            code, said = run_here(shlex.split(commands[0])[1:], capsys)
        else:
            code, said = run_in_shell(block.content, checkout)
        assert code == RUN_MARKERS[block.marker], f"{block.content}\n{said}"
        for line in block.output.splitlines():
            wanted = r"\s+".join(".*".join(map(re.escape, word.split("…"))) for word in line.split())
            assert re.search(wanted, said), f"{block.content}\nshould print: {line}\nprinted:\n{said}"


def run_here(arguments, capsys):
    """What writes no file needs no process of its own, which would take seconds to start."""
    code = 0
    try:
        main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    said = capsys.readouterr()
    return code, said.out + said.err


def run_in_shell(commands, checkout):
    """Run a block in the copy; blocks share the variable RUN, as they do in a reader's terminal."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CXRVL_", "COV_"))} | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(checkout),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    script = f"set -euo pipefail\ntouch .shell; source .shell\n{commands}\ndeclare -p RUN > .shell || true\n"
    done = subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    return done.returncode, done.stdout + done.stderr


SMALL_TEXT_RUN = (
    "model.base.sizes.hidden_size=32", "model.base.sizes.intermediate_size=64", "data.batch_size=4", "data.num_workers=0",
    "trainer.max_steps=2", "trainer.max_epochs=-1", "logger=none",
)  # fmt: skip
SMALL_PAIRS = (
    "data.val_triplets=4", "evaluation.retrieval.bootstrap=5", "evaluation.styles.bootstrap=5",
    "evaluation.errors.bootstrap=5",
)  # fmt: skip


def write_hospital(path):
    """Reports of 60 studies, as a hospital's system might export them."""
    sides, sizes = ("left", "right"), ("small", "moderate", "large")
    ends = ("{size} {side} pleural effusion.", "Cardiomegaly.", "Nodule of {n} mm in the {side} upper lobe.")
    rows = []
    for n in range(60):
        size, side = sizes[n % 3], sides[n % 2]
        said = f"There is a {size} {side} pleural effusion. The heart is enlarged. A {n} mm nodule in the {side} upper lobe."
        impression = ends[n % 5 % 3].format(size=size.capitalize(), side=side, n=n)
        rows.append((f"A{n:03d}", f"P{n // 2}", f"FINDINGS: {said}\n\nIMPRESSION: {impression}"))
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=["accession", "patient", "text"]).to_csv(path, index=False)


@pytest.mark.slow
def test_a_hospital_adapts_a_language_model_as_printed(configs, capsys, tmp_path, monkeypatch):
    """The chapter's YAML files and commands, with a small model and few steps; run ids are what the reader sees."""
    pytest.importorskip("sentence_transformers")
    chapter = TEXT.split("\n## Language models that read reports\n")[1].split("\n## ")[0]
    (block,) = (Block(*(part or "" for part in found)) for found in FENCE.findall(chapter) if found[1] == "bash")
    masked, pairs, encode, ask, export = (shlex.split(line)[1:] for line in block.commands())
    for name in path_variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write_hospital(tmp_path / "data/hospital/reports.csv")
    for name in ("reports.csv", "findings.csv"):
        shutil.copy(tmp_path / "data/hospital/reports.csv", tmp_path / name)
    made = []

    def run(words, *more, code=0):
        assert words.count("model=text_smollm2") == (words[0] == "train")
        words = ["model=text_llama_tiny" if word == "model=text_smollm2" else word for word in words]
        if made:
            words = [re.sub(r"(?<=run: )\w{16}(?=,)|^(?=.*\d)[\da-f]{8}$", made[-1], word) for word in words]
        found, said = run_here([*words, *more], capsys)
        assert found == code, f"{words}\n{said}"
        done = {path.parent.name for path in tmp_path.glob("runs/*/status.json") if "done" in path.read_text()}
        made.extend(done - set(made))
        return said

    run(masked, *SMALL_TEXT_RUN)
    assert len(made) == 1
    without = [word for word in pairs if word != "evaluation.probe=null"]
    assert "(evaluation.probe=null leaves it out)" in run(without, *SMALL_TEXT_RUN, *SMALL_PAIRS, code=2)
    run(pairs, *SMALL_TEXT_RUN, *SMALL_PAIRS)
    assert len(made) == 2
    assert "report from column 'text' (the run's data.source.columns); named by column 'accession'" in run(encode)
    written = pd.read_parquet(tmp_path / encode[encode.index("--out") + 1])
    assert written["study"].tolist() == [f"A{n:03d}" for n in range(60)]
    assert "instruction before every report: Retrieve the impression that summarises these findings." in run(ask)
    asked = pd.read_parquet(tmp_path / ask[ask.index("--out") + 1])
    assert np.abs(np.stack(asked["embedding"]) - np.stack(written["embedding"])).max() > 1e-4
    run(export)
    assert (tmp_path / export[export.index("--out") + 1] / "modules.json").is_file()


@pytest.mark.parametrize("command", NOT_RUN)
def test_a_command_that_is_not_run_is_sound(command, checkout, configs, monkeypatch):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        check_make(words, checkout)
    elif words[0] == "cxrvl":
        asked = []
        monkeypatch.setitem(COMMANDS, words[1], asked.append)
        main(words[1:])
        check_cxrvl(asked[0], words[1])
    elif words[0] == "export":
        assert words[1].split("=")[0] in path_variables()
    else:
        assert words == ["source", ".venv/bin/activate"], "no way to check this command; run it or add a way"


def check_make(words, checkout):
    """The targets exist, and what their variables name composes."""
    done = subprocess.run(["make", "-n", *words[1:]], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    known = set(re.findall(r"^(\w+) \?=", (checkout / "Makefile").read_text(), re.M))
    assert set(variables) <= known
    if "EXPERIMENT" in variables:
        check_config([f"experiment={variables['EXPERIMENT']}"])
    if "TABLE" in variables:
        check_table(variables["TABLE"], variables.get("LINE"), [])


def check_cxrvl(options, command):
    """The configs that the overrides lead to are sound; the options themselves the command line has read."""
    if command in ("train", "check", "prepare"):
        flags = {word for word in options.overrides if word.startswith("-")}
        assert flags <= HYDRA_FLAGS
        overrides = [word for word in options.overrides if "=" in word]
        for job in expand_sweep(with_table(overrides)) if flags & MULTIRUN_FLAGS else [overrides]:
            check_config(job)
    elif command == "table":
        check_table(options.table, options.line, options.overrides)


def check_table(name, line, overrides):
    spec = table_spec(name)
    for chosen in [spec.line(line)] if line else spec.lines.values():
        for row in chosen.rows:
            check_config([f"experiment={name}/{row.name}", *overrides])


def check_config(overrides):
    assert verified(tuple(overrides)) >= 10


@cache
def verified(overrides):
    """Compose and check once: the same rows are named again and again."""
    return check(resolved(compose_config(overrides)))


def path_variables():
    return set(re.findall(r"oc\.env:(\w+)", (ROOT / "conf/paths/default.yaml").read_text()))


def options_of(group):
    """The options of a group, without those the README tells its reader to write."""
    found = (path for path in (ROOT / "conf" / group).glob("*.yaml") if not path.stem.startswith("_"))
    return {path.stem for path in found if f"# {path.relative_to(ROOT).as_posix()}\n" not in TEXT}


def test_the_table_of_groups_names_every_option_and_no_other():
    rows = re.findall(r"^\| ((?:`[\w/]+=`(?:, )?)+) \| (.*) \|$", TEXT, re.M)
    named = {group for cell, _ in rows for group in re.findall(r"`([\w/]+)=`", cell)}
    assert {"model", "model/context", "model/head", "task", "data", "evaluation", "debug", "logger"} <= named <= GROUPS
    for cell, options in rows:
        known = set().union(*(options_of(group) for group in re.findall(r"`([\w/]+)=`", cell)))
        shown = set(re.findall(r"`(\w+)`", options))
        assert known <= shown, f"{cell} does not name {known - shown}"
        words = {"crop", "findings"}  # values of the keys explained in the same cell
        assert shown - known <= words, f"{cell} names {shown - known}"


SETTING = re.compile(r"(\+?)([a-z_]+(?:[./][a-z_0-9]+)*)=(.+)")
KEY = re.compile(r"(?:data|model|task|trainer|checkpoint|evaluation|paths)(?:\.[a-z_]+)+")


@cache
def base_config(base):
    return resolved(compose_config(base))


def has_place_for(base, setting):
    """Whether a key, or with a plus sign what it is added to, is there; only then a config is worth its check."""
    plus, key, _ = SETTING.fullmatch(setting).groups()
    if "/" in key or "." not in key:
        return True
    *parents, leaf = key.split(".")
    node = base_config(base)
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None
    return isinstance(node, dict) and (bool(plus) or leaf in node)


@pytest.mark.parametrize("setting", [s for s in INLINE if SETTING.fullmatch(s) and "<" not in s])
def test_a_setting_named_in_the_text_is_accepted(setting):
    problems = []
    for base in BASES:
        if not has_place_for(base, setting):
            continue
        try:
            check_config([*base, setting])
        except ConfigError as error:
            problems.append(str(error))
        else:
            return
    pytest.fail("\n".join(problems))


@pytest.mark.parametrize("key", [s for s in INLINE if KEY.fullmatch(s)])
def test_a_key_named_in_the_text_exists(key):
    *parents, leaf = key.split(".")
    for base in BASES:
        node = base_config(base)
        for name in parents:
            node = node.get(name, {})
        if leaf in node or leaf in keywords_of(node):
            return
    pytest.fail(f"no config has {key}")


def test_command_line_options_named_in_the_text_exist():
    named = {word for text in INLINE for word in text.split() if re.fullmatch(r"--?[a-z][a-z-]*", word)}
    known, parsers = set(HYDRA_FLAGS), [build_parser()]
    while parsers:
        parser = parsers.pop()
        known |= {flag for action in parser._actions for flag in action.option_strings}
        if parser._subparsers is not None:
            parsers += parser._subparsers._group_actions[0].choices.values()
    assert {"-m", "--maps"} <= named <= known


def test_the_variables_are_those_of_the_config():
    assert set(re.findall(r"CXRVL_\w+", TEXT)) == path_variables()


def test_files_and_folders_linked_to_exist():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert not missing


def test_the_place_of_the_phantom_table_is_kept():
    assert TEXT.count("<!-- phantom table: begin -->") == TEXT.count("<!-- phantom table: end -->") == 1


def test_the_contact_sheet_shows_the_phantom_of_today():
    path = ROOT / "docs/phantom.png"
    assert path.stat().st_size < 400_000
    shown, drawn = (np.asarray(image, dtype=np.int16) for image in (Image.open(path), overview()))
    assert shown.shape == drawn.shape
    # One grey level is what machines may differ by; captions depend on Pillow's font.
    assert (np.abs(shown - drawn) > 2).mean() < 0.02
