"""A chain of runs: who comes before whom is known from the configs, whether or not anything exists."""

import pytest
import torch

from cxrvl.config.compose import compose_config, hydra_session, resolved
from cxrvl.errors import ConfigError, DataError, RunError, WeightsError
from cxrvl.files import write_yaml
from cxrvl.runs import making, separation
from cxrvl.runs.identity import identify
from cxrvl.runs.inherit import _written, override
from cxrvl.runs.making import check_chain
from cxrvl.runs.store import RunStore
from cxrvl.runs.upstream import links, missing_links, weights_of

SMALL = ("data.source.images=60", "data.store.size=32")
PHANTOM = ("experiment=phantom/acm", *SMALL)
UPSTREAM = f"experiment=phantom/none {' '.join(SMALL)}"


def config_of(*overrides):
    return resolved(compose_config([*PHANTOM, *overrides]))


def starting(words, more=""):
    return f'init_from={{run: "{words}"{more}}}'


def through_middle(first):
    """Start from a run that itself starts from `first`."""
    words = [*UPSTREAM.split(), "seed=5", f'init_from={{run: "{first}", parts: [encoder]}}']
    return f"init_from={{run: [{','.join(map(_written, words))}], parts: [encoder]}}"


def id_of(*overrides):
    return identify(config_of(*overrides)).run_id


# Identity.


@pytest.mark.usefixtures("fresh")
def test_the_id_is_known_before_anything_it_starts_from_exists(tmp_path):
    config = config_of(starting(UPSTREAM, ", parts: [encoder]"))
    (link,) = links(config)
    assert link.run_id == identify(resolved(compose_config(UPSTREAM.split()))).run_id
    assert identify(config).science["init_from"] == {
        "run": link.run_id, "use": "best", "parts": {"encoder": "encoder"},
    }  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fresh")
def test_what_a_run_starts_from_is_part_of_its_id():
    settings = [
        (),
        (starting(UPSTREAM),),
        (starting(UPSTREAM, ", use: final"),),
        (starting(UPSTREAM, ", parts: [encoder]"),),
        (starting(UPSTREAM, ", parts: {encoder: head}"),),
        (starting(f"{UPSTREAM} seed=1"),),
        (starting(f"{UPSTREAM} task.optimizer.lr=0.01"),),
        ("init_from={published: efficientnet-lite0}",),
        ("init_from={published: resnet50/IMAGENET1K_V1}",),
    ]
    ids = [id_of(*setting) for setting in settings]
    assert len(set(ids)) == len(ids)
    assert id_of(starting(UPSTREAM, ", parts: {encoder: encoder}")) == ids[3]
    assert id_of("init_from={published: efficientnet-lite0, parts: [encoder]}") == ids[-2]
    assert id_of(starting(UPSTREAM, ", parts: []")) == ids[1]


@pytest.mark.usefixtures("fresh")
def test_a_link_that_changes_gives_new_ids_all_the_way_down():
    def ids(first):
        config = config_of(through_middle(first))
        return [link.run_id for link in links(config)] + [identify(config).run_id]

    before, after = ids(UPSTREAM), ids(f"{UPSTREAM} trainer.max_epochs=2")
    assert len(before) == len(after) == 3
    assert not set(before) & set(after)


@pytest.mark.usefixtures("fresh")
def test_where_a_run_is_computed_changes_no_id_of_the_chain():
    before = [link.run_id for link in links(config_of(starting(UPSTREAM)))], id_of(starting(UPSTREAM))
    engine = ("paths.runs=elsewhere", "trainer.devices=2", "+data.num_workers=3", "checkpoint.every_seconds=1")
    config = config_of(starting(UPSTREAM), *engine)
    assert ([link.run_id for link in links(config)], identify(config).run_id) == before


@pytest.mark.usefixtures("fresh")
def test_interpolations_reach_the_run_it_starts_from():
    first, second = (
        links(config_of(f"seed={seed}", starting("experiment=phantom/none seed=${seed} " + " ".join(SMALL))))[0]
        for seed in (3, 4)
    )
    assert (first.config["seed"], second.config["seed"]) == (3, 4)
    assert first.run_id != second.run_id
    fixed = {links(config_of(f"seed={seed}", starting(f"{UPSTREAM} seed=9")))[0].run_id for seed in (3, 4)}
    assert len(fixed) == 1


@pytest.mark.usefixtures("fresh")
def test_the_id_of_a_run_is_as_good_as_its_overrides(tmp_path):
    by_overrides = config_of(starting(UPSTREAM, ", parts: [encoder]"))
    (link,) = links(by_overrides)
    run = make(link)
    for named in (link.run_id, link.run_id[:6]):
        config = config_of(starting(named, ", parts: [encoder]"))
        assert identify(config).run_id == identify(by_overrides).run_id
        assert [found.run_id for found in links(config)] == [link.run_id]
    run.set_status("failed")
    (again,) = missing_links(config_of(starting(link.run_id)))
    assert (again.run_id, again.overrides) == (link.run_id, link.overrides)
    write_yaml(run.folder / "overrides.yaml", [*link.overrides, "seed=77"])
    with pytest.raises(RunError, match="has changed since; name it by its overrides"):
        missing_links(config_of(starting(link.run_id)))
    with pytest.raises(RunError, match="no run 'abcd'"):
        id_of(starting("abcd"))


@pytest.mark.usefixtures("fresh")
def test_a_run_that_is_done_needs_nothing_it_started_from(tmp_path):
    """By a whole id, that run may even be gone."""
    config = config_of(starting("0123456789abcdef"))
    run = RunStore(tmp_path / "runs").run(identify(config).run_id)
    with pytest.raises(RunError, match="no run '0123456789abcdef'"):
        missing_links(config)
    run.checkpoints.mkdir(parents=True)
    (run.checkpoints / "last.ckpt").touch()
    assert missing_links(config) == []


def make(link, state="done"):
    """Pretend that a link was made."""
    run = link.run
    run.set_status(state)
    run.checkpoints.mkdir(exist_ok=True)
    for name in ("best.ckpt", "final.ckpt"):
        (run.checkpoints / name).touch()
    write_yaml(run.folder / "overrides.yaml", list(link.overrides))
    write_yaml(run.folder / "config.yaml", link.config)
    return run


@pytest.mark.usefixtures("fresh")
def test_what_a_finished_link_started_from_is_not_made_again():
    config = config_of(through_middle(UPSTREAM))
    first, middle = links(config)
    assert [link.run_id for link in missing_links(config)] == [first.run_id, middle.run_id]
    run = make(first)
    assert [link.run_id for link in missing_links(config)] == [middle.run_id]
    RunStore(run.folder.parent).remove(run)
    make(middle)
    assert missing_links(config) == []


@pytest.mark.parametrize(("use", "file"), [("best", "best.ckpt"), ("final", "final.ckpt")])
def test_the_weights_of_a_run(tmp_path, use, file):
    run = RunStore(tmp_path).run("abc")
    run.set_status("running")
    with pytest.raises(WeightsError, match="it has no weights yet; train it first"):
        weights_of(run, use)
    run.set_status("done")
    with pytest.raises(WeightsError, match="the checkpoints of run abc are gone"):
        weights_of(run, use)
    run.checkpoints.mkdir()
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "best_epoch": None}, run.checkpoints / "final.ckpt")
    assert weights_of(run, use).name == "final.ckpt", "a run that never validated has no best weights"
    (run.checkpoints / "best.ckpt").touch()
    assert weights_of(run, use).name == file


# What cannot be.


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("init_from={run: abc, file: x}", ["init_from is", "expected {run: <overrides or run id>}"]),
        ("init_from=abc", ["init_from is abc"]),
        ("init_from={path: abc}", ["init_from is {'path': 'abc'}"]),
        ("init_from={run: 'a=1', part: [encoder]}", ["init_from.part is no key", "did you mean 'parts'?"]),
        ("init_from={file: x, use: final}", ["init_from.use is no key"]),
        ("init_from={run: 'a=1', use: last}", ["init_from.use is 'last'; expected best or final"]),
        ("init_from={run: 1.5}", ["init_from.run is 1.5", "run id in quotes"]),
        ("init_from={run: 'a=1', parts: encoder}", ["init_from.parts is 'encoder'; expected [encoder]"]),
        ("init_from={run: \"a='1\"}", ["init_from.run: cannot split"]),
        (starting("experiment=phantom/non"), ["init_from.run: no option 'phantom/non'", "did you mean 'phantom/none'?"]),
        (starting(f"{UPSTREAM} sed=1"), ["init_from.run: unknown key 'sed'", "did you mean 'seed'?"]),
        (starting(f"{UPSTREAM} seed=1,2"), ["init_from.run:"]),
        (starting(UPSTREAM, ", parts: [encodr]"), ["this task has no part 'encodr'; did you mean 'encoder'?"]),
        (starting(UPSTREAM, ", parts: {encoder: hed}"), ["what it starts from has no part 'hed'", "did you mean 'head'?"]),
        (starting(f"{UPSTREAM} +model.banana=1"), ["unknown key 'model.banana'"]),
        ("init_from={published: efficientnet-lite0, parts: {encoder: tower}}", ["what it starts from has no part 'tower'"]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("fresh")
def test_a_chain_that_cannot_be_is_refused_before_anything_is_made(tmp_path, setting, words):
    with pytest.raises((ConfigError, WeightsError)) as refused:
        check_chain(config_of(setting))
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("fresh")
def test_a_chain_that_comes_back_to_itself_is_refused(tmp_path, monkeypatch):
    import shutil

    from cxrvl.config import compose, compose_many
    from cxrvl.runs import chain, inherit

    conf = shutil.copytree(compose.config_dir(), tmp_path / "conf")
    for one, other in (("a", "b"), ("b", "a"), ("self", "self")):
        (conf / "experiment" / f"{one}.yaml").write_text(
            f"# @package _global_\ndefaults:\n  - /experiment/phantom/none\n\nname: {one}\n"
            f"init_from:\n  run: experiment={other}\n"
        )
    (conf / "experiment" / "grow.yaml").write_text(
        "# @package _global_\nname: grow\ninit_from:\n  run: experiment=grow name=${name}1\n"
    )
    monkeypatch.setattr(chain, "LONGEST", 4)
    for module in (compose, compose_many, inherit):
        monkeypatch.setattr(module, "config_dir", lambda: conf)
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra_session():
        for name, words in (("a", "comes back to itself: a from b from a;"), ("self", "self from self")):
            with pytest.raises(ConfigError, match=words):
                identify(resolved(compose_config([f"experiment={name}"])))
        with pytest.raises(ConfigError, match="comes back to itself"):
            identify(resolved(compose_config(["experiment=grow"])))


# Making, without a process.


@pytest.mark.parametrize(
    ("code", "state", "error", "words"),
    [
        (0, "done", None, None),
        (2, "failed", {"error": "DataError: no image"}, "has no weights: DataError: no image; alone: cxrvl train exp"),
        (1, None, {}, "its process ended with exit code 1, see above"),
        (-9, None, {}, "its process was ended by SIGKILL"),
        (75, "queued", {}, 75),
        (130, "queued", {}, 130),
    ],
)
@pytest.mark.usefixtures("fresh")
def test_each_missing_link_is_trained_in_order_until_one_fails(monkeypatch, capsys, code, state, error, words):
    config = config_of(through_middle(UPSTREAM))
    first, middle = links(config)
    asked = []

    def train(overrides):
        asked.append(overrides)
        link = (first, middle)[len(asked) - 1]
        if link is middle and state != "done":
            if state:
                link.run.set_status(state, **error)
            return code
        make(link)
        return 0

    monkeypatch.setattr(making.processes, "train", train)
    if words is None:
        making.make_upstream(config)
    else:
        with pytest.raises(SystemExit if isinstance(words, int) else RunError, match=str(words)):
            making.make_upstream(config)
    assert asked == [first.overrides, middle.overrides]
    told = capsys.readouterr().out.splitlines()
    assert told[0] == (
        f"run {middle.run_id} (phantom/none) starts from run {first.run_id} (phantom/none), which is made first"
    )
    assert f"(phantom/acm) starts from run {middle.run_id}" in told[1]


@pytest.mark.usefixtures("fresh")
def test_a_sweep_does_not_try_a_failed_link_again_by_itself(monkeypatch):
    config = config_of(starting(UPSTREAM))
    links(config)[0].run.set_status("failed")
    asked = []
    monkeypatch.setattr(making.processes, "train", lambda overrides: asked.append(overrides) or 1)
    monkeypatch.setenv("CXRVL_SWEEP", "sweep-1")
    with pytest.raises(RunError, match="a sweep does not try again by itself"):
        making.make_upstream(config)
    assert not asked
    monkeypatch.delenv("CXRVL_SWEEP")
    with pytest.raises(RunError, match="exit code 1"):
        making.make_upstream(config)
    assert len(asked) == 1


# What is taken over.


@pytest.mark.usefixtures("fresh")
def test_a_link_is_computed_where_its_downstream_is_and_its_science_stays_its_own():
    engine = (
        override("paths.runs", "/some where/ru'ns"), "trainer.devices=2", "trainer.accelerator=cpu", "checkpoint.every_steps=3",
        "+data.num_workers=3", "logger=wandb", "logger.wandb.project=mine",
    )  # fmt: skip
    science = ("seed=4", "trainer.max_epochs=3", "trainer.precision=bf16-mixed", "data.batch_size=5", "threads=2",
               "trainer.accumulate_grad_batches=2", "checkpoint.use=final")  # fmt: skip
    config = config_of(starting(f"{UPSTREAM} trainer.devices=1"), *engine, *science)
    (link,) = links(config)
    again = resolved(compose_config(link.overrides))
    assert again == link.config, "its overrides are the whole of it: a fresh process makes the same run"
    assert again["paths"] == config["paths"]
    assert again["trainer"]["accelerator"] == "cpu"
    assert again["trainer"]["devices"] == 1, "its own words stay"
    assert again["checkpoint"]["every_steps"] == 3
    assert again["data"]["num_workers"] == 3
    assert again["logger"]["wandb"]["project"] == "mine"
    plain = resolved(compose_config(UPSTREAM.split()))
    assert identify(again).run_id == identify(plain).run_id
    for key in ("seed", "threads", "name"):
        assert again[key] == plain[key]


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.5, "it's", "a b", "${seed}", "back\\", [1, "b"], {"c": ["d e", None]}]
)
def test_an_override_sets_what_it_says(value):
    config = resolved(compose_config([override("data.extra", value)]))
    assert config["data"]["extra"] == value


@pytest.mark.usefixtures("fresh")
def test_a_sweep_over_seeds_has_a_fixed_start_once(monkeypatch):
    from cxrvl.sweeps import jobs as sweeps

    monkeypatch.setattr(sweeps, "check_all", lambda configs: None)  # a process of its own, which imports torch
    jobs = sweeps.describe(
        [[*PHANTOM, f"seed={seed}", starting(f"{UPSTREAM} seed=9", ", parts: [encoder]")] for seed in (1, 2)]
    )
    assert [job.link for job in jobs] == [True, False, False]
    assert [job.after for job in jobs] == [(), (jobs[0].run_id,), (jobs[0].run_id,)]


# The example of the phantom line.


@pytest.mark.usefixtures("fresh")
def test_the_example_hands_its_settings_on(tmp_path):
    overrides = ("experiment=phantom/pretrained", *SMALL, "seed=3", "trainer.max_epochs=2")
    config = resolved(compose_config(overrides))
    (link,) = links(config)
    assert link.config["name"] == "phantom/acm"
    assert (link.config["seed"], link.config["trainer"]["max_epochs"]) == (3, 2)
    assert not set(link.config["data"]["labels"]) & set(config["data"]["labels"])
    assert check_chain(config) > 0
    assert not list(tmp_path.iterdir()), "a table's rows are identified and checked before anything exists"


def test_patients_a_run_is_judged_on_are_none_its_start_has_learnt_from():
    small = ("experiment=phantom/pretrained", "data.source.images=300")
    assert check_chain(resolved(compose_config(small))) > 0
    apart = resolved(compose_config((*small, "+data.fold=2")))
    with pytest.raises(DataError, match=r"judged on \d+ patient\(s\) of phantom that phantom/acm .* data\.fold=2"):
        check_chain(apart)


@pytest.mark.parametrize(("debug", "handed"), [("limit", 64), ("fdr", 40), ("profiler", 64)])
def test_what_a_debug_run_starts_from_is_a_debug_run(debug, handed):
    (link,) = links(resolved(compose_config(("experiment=phantom/pretrained", f"debug={debug}"))))
    assert link.config["data"]["limit"] == handed
    assert link.config["trainer"]["max_epochs"] <= 2
    assert link.config["paths"]["runs"].endswith("debug")
    assert link.config["debug"] is not None


@pytest.mark.usefixtures("fresh")
def test_a_finished_run_whose_data_are_elsewhere_is_started_from_with_a_warning(tmp_path, monkeypatch, caplog):
    config = resolved(compose_config(("experiment=phantom/pretrained", "data.source.images=60")))
    (link,) = links(config)
    read = separation.data_table

    def here(asked):
        if asked is link.config:
            raise DataError("no such folder")
        return read(asked)

    monkeypatch.setattr(separation, "data_table", here)
    with pytest.raises(DataError, match="no such folder"):
        separation.refuse_known_patients(config, [link])
    link.run.set_status("done")
    separation.refuse_known_patients(config, [link])
    assert f"run {link.run_id} is there, its data are not" in caplog.text
