import pytest

from cxrvl.errors import RunError
from cxrvl.files import write_json, write_yaml
from cxrvl.runs.differences import differences, is_science, plain, sentences
from cxrvl.runs.store import Run

CONFIG = {
    "name": "a", "seed": 0, "model": {"groups": 8}, "trainer": {"devices": 1, "max_epochs": 3},
    "data": {"source": {"root": "/here", "size": 1}, "num_workers": 2}, "paths": {"runs": "runs"},
}  # fmt: skip
ENVIRONMENT = {
    "commit": "abc", "diff": "", "cpu": "one", "threads": {"torch": 1}, "packages": {"torch": "2.8", "numpy": "2.0"},
    "data": {"split_sha256": "11", "fingerprint": {"study": {"rows": 10}}},
}  # fmt: skip


@pytest.fixture
def make(tmp_path):
    def make(name, config=CONFIG, environment=ENVIRONMENT):
        write_yaml(tmp_path / name / "config.yaml", config)
        write_json(tmp_path / name / "environment.json", environment)
        return Run(tmp_path / name)

    return make


def test_alike_runs(make):
    a, b = make("aa"), make("bb")
    assert differences(a, b) == {}
    assert sentences(a, b, {}).startswith("runs aa and bb do not differ")


def test_every_difference_stands_in_its_group(make):
    config = {
        **CONFIG, "name": "b", "model": {"groups": 16}, "trainer": {"devices": 2, "max_epochs": 3, "precision": None},
        "data": {"source": {"root": "/there", "size": 2}, "num_workers": 0},
    }  # fmt: skip
    environment = {
        "commit": "abd", "diff": "+new = 1", "cpu": "two", "threads": {"torch": 2},
        "packages": {"torch": "2.9", "scipy": "1"}, "data": {"split_sha256": "11", "fingerprint": {"study": {"rows": 9}}},
    }  # fmt: skip
    a, b = make("aa"), make("bb", config, environment)
    found = differences(a, b)
    assert plain(found) == {
        "science": {
            "model.groups": {"a": 8, "b": 16}, "trainer.precision": {"b": None}, "data.source.size": {"a": 1, "b": 2},
        },
        "engine": {
            "name": {"a": "a", "b": "b"}, "trainer.devices": {"a": 1, "b": 2}, "data.num_workers": {"a": 2, "b": 0},
            "data.source.root": {"a": "/here", "b": "/there"},
        },
        "environment": {"cpu": {"a": "one", "b": "two"}, "threads.torch": {"a": 1, "b": 2}},
        "packages": {"torch": {"a": "2.8", "b": "2.9"}, "numpy": {"a": "2.0"}, "scipy": {"b": "1"}},
        "data": {"fingerprint.study.rows": {"a": 10, "b": 9}},
        "git": {"commit": {"a": "abc", "b": "abd"}, "diff": {"a": "", "b": "+new = 1"}},
    }  # fmt: skip
    text = sentences(a, b, found)
    assert "  model.groups       8  ->  16" in text
    assert "  numpy  2.0  ->  absent" in text
    assert "    ++new = 1" in text


def test_of_two_commands_only_the_words_that_differ_are_shown(make):
    words = ["cxrvl", "train", "experiment=phantom/acm"]
    a, b, c = (
        make(name, environment={**ENVIRONMENT, "command": [*words, *more]})
        for name, more in {
            "aa": ["seed=0", "logger=none"],
            "bb": ["seed=1", "logger=none"],
            "cc": ["logger=none"],
        }.items()
    )
    assert "  command  seed=0  ->  seed=1" in sentences(a, b, differences(a, b))
    assert "  command  seed=0  ->  ''" in sentences(a, c, differences(a, c))
    assert plain(differences(a, b))["environment"]["command"]["b"] == [*words, "seed=1", "logger=none"]


@pytest.mark.parametrize(
    ("key", "science"),
    [
        ("model.groups", True),
        ("seed", True),
        ("trainer.devices", False),
        ("trainer.max_epochs", True),
        ("trainer.accumulate_grad_batches", True),
        ("data.source.parts.root", False),
        ("data.source.prevalence.Nodule", True),
        ("paths.runs", False),
        ("logger.wandb.project", False),
    ],
)
def test_what_counts_as_science(key, science):
    assert is_science(key) is science


def test_a_run_without_a_record(make):
    a, b = make("aa"), make("bb")
    (b.folder / "environment.json").unlink()
    with pytest.raises(RunError, match=r"run bb has no environment\.json"):
        differences(a, b)
    (b.folder / "environment.json").write_text("[]")
    with pytest.raises(RunError, match=r"environment\.json is damaged"):
        differences(a, b)
