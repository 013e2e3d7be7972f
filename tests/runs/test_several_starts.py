"""A run that starts from several weights, part by part: what it is, what must exist before it, and what is refused."""

import shutil

import pytest
import torch
from torch import nn

from cxrvl.config import compose, compose_many
from cxrvl.config.compose import compose_config, hydra_session, resolved
from cxrvl.errors import ConfigError, RunError, WeightsError
from cxrvl.files import read_json, write_json, write_yaml
from cxrvl.runs import chain, inherit, making
from cxrvl.runs.identity import identify
from cxrvl.runs.inherit import _written
from cxrvl.runs.lineage import dependents, record, source, write_record
from cxrvl.runs.making import check_chain
from cxrvl.runs.parts import Weights, take_all
from cxrvl.runs.start import read_starts, starts_identity, starts_whole
from cxrvl.runs.starting import check_parts
from cxrvl.runs.store import RunStore
from cxrvl.runs.upstream import direct_links, links, missing_links, record_start, start_runs

SMALL = ("data.source.images=60", "data.store.size=32")
WORDS = ("experiment=phantom/none", *SMALL)
RUN = {"run": "experiment=a seed=1", "parts": ["encoder"]}
FILE = {"file": "w.ckpt", "parts": {"head": "other"}}


def config_of(*overrides):
    return resolved(compose_config(["experiment=phantom/acm", *SMALL, *overrides]))


def several(*elements):
    return f"init_from={_written(list(elements))}"


def of(run, *parts, more=()):
    return {"run": [*run, *more], "parts": list(parts)}


def through(first, *parts, seed=5):
    """A run that starts from another one, with the parts to take of it."""
    return of(WORDS, *parts, more=(f"seed={seed}", f"init_from={_written(first)}"))


def ids(found):
    return [link.run_id for link in found]


def make(link, state="done"):
    run = link.run
    run.set_status(state)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    for name in ("best.ckpt", "final.ckpt"):
        (run.checkpoints / name).touch()
    write_yaml(run.folder / "overrides.yaml", list(link.overrides))
    write_yaml(run.folder / "config.yaml", link.config)
    return run


# Reading.


def test_each_element_is_read_as_a_single_source_is():
    one, other = read_starts({"init_from": [RUN, FILE]})
    assert read_starts({"init_from": RUN}) == read_starts({"init_from": [RUN]}) == (one,)
    assert (one.source, one.parts) == (("experiment=a", "seed=1"), {"encoder": "encoder"})
    assert (other.kind, other.parts) == ("file", {"head": "other"})
    assert str(other) == "init_from[1] (file w.ckpt)"
    assert read_starts({"init_from": None}) == read_starts({}) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], ["init_from is []; init_from=null starts from the model's own initialisation", "{published: <name>}"]),
        ([RUN, {"file": "w.ckpt"}], ["init_from[1] (file w.ckpt) names no parts", "parts: [...]"]),
        ([{"published": "efficientnet-lite0", "parts": []}, RUN], ["init_from[0] (published efficientnet-lite0) names no"]),
        ([RUN, {**FILE, "parts": ["encoder"]}], [
            "'encoder' is given by both init_from[0] (run experiment=a seed=1) and init_from[1] (file w.ckpt)"]),
        ([RUN, RUN], ["'encoder' is given by both init_from[0]", "and init_from[1]"]),
        ([RUN, {**FILE, "use": "final"}], ["init_from[1].use is no key of {file: ...}"]),
        ([RUN, {**FILE, "parts": "head"}], ["init_from[1].parts is 'head'"]),
        ([{**RUN, "use": "last"}], ["init_from[0].use is 'last'"]),
        ([RUN, None], ["init_from[1] is None; expected"]),
        ([[RUN]], ["init_from[0] is [{"]),
        ([RUN, {"run": 1.5, "parts": ["head"]}], ["init_from[1].run is 1.5"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_the_element(value, words):
    with pytest.raises(ConfigError) as refused:
        read_starts({"init_from": value})
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_only_a_single_source_without_parts_replaces_everything():
    whole = {"run": "experiment=a"}
    assert starts_whole({"init_from": whole})
    assert starts_whole({"init_from": [whole]})
    for value in (None, RUN, [RUN], [RUN, FILE], {"published": "efficientnet-lite0"}):
        assert not starts_whole({"init_from": value})


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (["student"], ["backbone"], "'backbone', given by init_from[1] (file w.ckpt), is within 'student', given by init"),
        (["teacher_backbone"], ["teacher"], "'teacher_backbone', given by init_from[0] (run experiment=a seed=1), is within"),
        (["student", "backbone"], ["teacher"], "init_from.parts: 'backbone' is within 'student'; select one of them"),
        (["student"], ["techer"], "init_from[1].parts: this task has no part 'techer'; did you mean 'teacher'?"),
    ],
)  # fmt: skip
def test_parts_within_parts_of_another_element_are_refused_before_anything_is_made(one, other, words):
    config = {
        "task": {"_target_": "cxrvl.tasks.SelfTraining"},
        "init_from": [{**RUN, "parts": one}, {**FILE, "parts": other}],
    }
    with pytest.raises(ConfigError) as refused:
        check_parts(config, [None, None])
    assert words in str(refused.value), str(refused.value)


def test_disjoint_parts_of_several_elements_are_right():
    towers = {"task": {"_target_": "cxrvl.tasks.ImageTextContrast"}}
    distl = {"task": {"_target_": "cxrvl.tasks.SelfTraining"}}
    elements = [{**RUN, "parts": {"image_tower": "backbone"}}, {**FILE, "parts": {"text_tower": "encoder"}}]
    check_parts({**towers, "init_from": elements}, [distl, None])
    elements = [elements[0], {**RUN, "parts": {"text_tower": "encodr"}}]
    with pytest.raises(ConfigError, match=r"init_from\[1\]\.parts: what it starts from has no part 'encodr'"):
        check_parts({**towers, "init_from": elements}, [distl, distl])


# Identity.


def identity_of(value, *upstream):
    return starts_identity(read_starts({"init_from": value}), upstream)


def test_what_one_source_is_stays_as_it_was(tmp_path):
    """Ids of runs are hashed from this: any other key or form would make every chained run another one."""
    path = tmp_path / "w.bin"
    path.write_bytes(b"abc")
    content = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    expected = [
        ({"run": "a=b"}, {"run": "0f", "use": "best", "parts": None}),
        ({"run": "a=b", "use": "final", "parts": {"x": "y"}}, {"run": "0f", "use": "final", "parts": {"x": "y"}}),
        ({"file": str(path), "parts": ["x"]}, {"file": content, "parts": {"x": "x"}}),
        (
            {"file": str(path), "layout": "distl"},
            {"file": content, "layout": "distl", "parts": {part: part for part in ("student", "teacher", "centre")}},
        ),
    ]
    for value, what in expected:
        upstream = "0f" if "run" in value else None
        assert identity_of(value, upstream) == identity_of([value], upstream) == what
    assert identity_of(None) is None


def test_neither_order_nor_division_of_the_list_changes_what_it_is(tmp_path):
    for name, content in (("a", b"abc"), ("b", b"abd"), ("copy", b"abc")):
        (tmp_path / name).write_bytes(content)

    def file(name, *parts):
        return {"file": str(tmp_path / name), "parts": list(parts)}

    run = {"run": "a=b", "parts": ["z"]}
    one = identity_of([file("a", "x"), file("b", "y"), run], None, None, "0f")
    assert one == identity_of([run, file("b", "y"), file("a", "x")], "0f", None, None)
    assert len(one) == 3
    assert one != identity_of([file("a", "y"), file("b", "x"), run], None, None, "0f")
    assert one != identity_of([file("a", "x"), file("b", "y"), run], None, None, "1f")
    at_once = identity_of(file("a", "x", "y"), None)
    assert identity_of([file("a", "x"), file("copy", "y")], None, None) == at_once, "the same weights, the same parts"
    assert len(identity_of([run, {**run, "use": "final", "parts": ["x"]}], "0f", "0f")) == 2


@pytest.mark.usefixtures("fresh")
def test_a_list_of_one_is_the_run_of_its_element_and_the_order_of_more_means_nothing():
    encoder, head = of(WORDS, "encoder"), of(WORDS, "head", more=("seed=1",))
    assert identify(config_of(several(encoder))).run_id == identify(config_of(f"init_from={_written(encoder)}")).run_id
    one, other = config_of(several(encoder, head)), config_of(several(head, encoder))
    assert identify(one).run_id == identify(other).run_id != identify(config_of(several(encoder))).run_id
    assert [run.run_id for run in start_runs(other)] == [run.run_id for run in start_runs(one)][::-1]
    (first, second) = identify(one).science["init_from"]
    assert {first["run"], second["run"]} == set(ids(links(one)))


@pytest.mark.usefixtures("fresh")
def test_the_command_line_takes_a_list():
    """As README writes it; where a config starts from something already, that is taken away first."""
    texts = '{run:"experiment=phantom/text_llama seed=${seed}",parts:{text_tower:encoder}}'
    images = '{run:["experiment=phantom/distl_t1","seed=${seed}"],parts:{image_tower:backbone}}'
    for before in (["experiment=phantom/clip_raw"], ["experiment=phantom/clip_adapted", "init_from=null"]):
        one, other = read_starts(resolved(compose_config([*before, "seed=3", f"init_from=[{images},{texts}]"])))
        assert one.source == ("experiment=phantom/distl_t1", "seed=3")
        assert other.source == ("experiment=phantom/text_llama", "seed=3")
    changed = resolved(compose_config([*before, f"init_from=[{images},{texts}]", "init_from.0.parts={image_tower:x}"]))
    assert [start.parts for start in read_starts(changed)] == [{"image_tower": "x"}, {"text_tower": "encoder"}]


# What must exist before.


@pytest.mark.usefixtures("fresh")
def test_a_shared_upstream_run_is_there_once_and_in_front_of_all_that_need_it(tmp_path):
    root = of(WORDS, "encoder")
    config = config_of(several(through(root, "encoder"), through(root, "head", seed=6)))
    first, left, right = links(config)
    assert [link.config["seed"] for link in (first, left, right)] == [0, 5, 6]
    assert ids(left.before) == ids(right.before) == [first.run_id]
    assert ids(direct_links(config)) == [left.run_id, right.run_id]
    assert ids(missing_links(config)) == ids([first, left, right])
    run = make(left)
    assert ids(missing_links(config)) == ids([first, right]), "the other branch needs it still"
    make(right)
    assert missing_links(config) == []
    right.run.set_status("failed")
    assert ids(missing_links(config)) == [right.run_id], "it has weights of its own, and needs no others"
    for path in right.run.checkpoints.iterdir():
        path.unlink()
    assert ids(missing_links(config)) == ids([first, right])
    make(first)
    assert ids(missing_links(config)) == [right.run_id]
    RunStore(run.folder.parent).remove(run)
    assert ids(missing_links(config)) == [left.run_id, right.run_id]


@pytest.mark.usefixtures("fresh")
def test_one_run_may_give_several_parts_and_be_named_by_its_id():
    by_overrides = config_of(several(of(WORDS, "encoder"), of(WORDS, "head")))
    (link,) = links(by_overrides)
    run = make(link)
    by_id = config_of(several({"run": run.run_id[:6], "parts": ["encoder"]}, of(WORDS, "head")))
    assert ids(links(by_id)) == [run.run_id]
    assert identify(by_id).run_id == identify(by_overrides).run_id
    assert check_chain(by_id) > 0
    run.set_status("failed")
    (again,) = missing_links(by_id)
    assert (again.run_id, again.overrides) == (link.run_id, link.overrides)
    with pytest.raises(RunError, match="no run 'abcd'"):
        identify(config_of(several(of(WORDS, "head"), {"run": "abcd", "parts": ["encoder"]})))


@pytest.mark.usefixtures("fresh")
def test_a_cycle_is_found_on_every_branch(tmp_path, monkeypatch):
    conf = shutil.copytree(compose.config_dir(), tmp_path / "conf")
    for name, start in (("a", "experiment=b"), ("b", "experiment=a")):
        (conf / "experiment" / f"{name}.yaml").write_text(
            f"# @package _global_\ndefaults:\n  - /experiment/phantom/none\n\nname: {name}\ninit_from:\n"
            f"  - {{run: [{', '.join(WORDS)}], parts: [encoder]}}\n  - {{run: {start}, parts: [head]}}\n"
        )
    for module in (compose, compose_many, inherit):
        monkeypatch.setattr(module, "config_dir", lambda: conf)
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra_session(), pytest.raises(ConfigError, match="comes back to itself: a from b from a;"):
        identify(resolved(compose_config(["experiment=a"])))


@pytest.mark.usefixtures("fresh")
def test_many_layers_of_shared_runs_are_composed_once_each(monkeypatch):
    """Each layer starts twice from the one before: as a tree without sharing, 2^6 runs."""
    asked = []
    words = "experiment=phantom/none"
    config = {"name": "end", "init_from": several_of(f"{words} seed=6")}

    def composed(overrides):
        asked.append(overrides)
        seed = int(overrides[1].partition("=")[2])
        below = several_of(f"{words} seed={seed - 1}") if seed else None
        return {"name": f"layer {seed}", "seed": seed, "init_from": below}

    monkeypatch.setattr(chain, "composed", composed)
    monkeypatch.setattr(chain, "resolved", dict)
    monkeypatch.setattr(chain, "upstream_overrides", lambda words, downstream: words)
    left, right = chain.upstream(config)
    assert left is right
    assert left.before[0] is left.before[1]
    assert len(asked) == 2 * 7


def several_of(run):
    return [{"run": run, "parts": ["encoder"]}, {"run": run, "parts": ["head"]}]


# Making, without a process.


@pytest.mark.parametrize("broken", [None, 5, 6])
@pytest.mark.usefixtures("fresh")
def test_every_branch_is_made_and_a_failed_run_on_any_is_reported(monkeypatch, capsys, broken):
    root = of(WORDS, "encoder")
    config = config_of(several(through(root, "encoder"), through(root, "head", seed=6)))
    found = links(config)
    asked = []

    def train(overrides):
        link = found[len(asked)]
        asked.append(overrides)
        if link.config["seed"] == broken:
            link.run.set_status("failed", error="DataError: no image")
            return 2
        make(link)
        return 0

    monkeypatch.setattr(making.processes, "train", train)
    if broken is None:
        making.make_upstream(config)
    else:
        with pytest.raises(
            RunError, match=r"has no weights: DataError: no image; alone: cxrvl train exp.*seed=" + str(broken)
        ):
            making.make_upstream(config)
    assert asked == [link.overrides for link in found][: {None: 3, 5: 2, 6: 3}[broken]]
    first, left, right = found
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"run {left.run_id} (phantom/none) starts from run {first.run_id} (phantom/none)")
    assert f"(phantom/acm) starts from run {left.run_id}" in told[1]
    assert broken == 5 or f"(phantom/acm) starts from run {right.run_id}" in told[2]


# Records.


@pytest.mark.usefixtures("fresh")
def test_every_source_is_recorded_in_any_order_alike(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"abc")
    run_part, file_part = of(WORDS, "encoder"), {"file": "w.bin", "parts": {"head": "other"}}
    config, turned = config_of(several(run_part, file_part)), config_of(several(file_part, run_part))
    other = make(links(config)[0])
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "best_epoch": None}, other.checkpoints / "final.ckpt")
    store = RunStore(tmp_path / "runs")
    run, again = store.run("aa"), store.run("bb")
    for one, asked in ((run, config), (again, turned)):
        one.set_status("running")
        record_start(one, asked)
    assert (run.folder / "init_from.json").read_bytes() == (again.folder / "init_from.json").read_bytes()
    by_kind = {"run" if "run" in one else "file": one for one in record(run)}
    assert by_kind["run"]["run"] == other.run_id
    assert by_kind["run"]["weights"].startswith("sha256:")
    assert by_kind["file"]["parts"] == {"head": "other"}
    assert by_kind["file"]["named"] == ["w.bin"]
    assert by_kind["file"]["weights"] == by_kind["file"]["file"]
    assert [found.run_id for found in dependents(store, other)] == ["aa", "bb"]


@pytest.mark.usefixtures("fresh")
def test_a_missing_file_among_the_sources_is_named():
    config = config_of(several(of(WORDS, "encoder"), {"file": "nowhere.ckpt", "parts": ["head"]}))
    with pytest.raises(WeightsError, match=r"init_from\[1\]\.file: there is no file nowhere\.ckpt"):
        identify(config)


def test_a_single_source_is_recorded_as_it_always_was(tmp_path):
    run = RunStore(tmp_path).run("aa")
    run.set_status("running")
    (start,) = read_starts({"init_from": [{"run": "experiment=a seed=1", "parts": ["encoder"]}]})
    what = {"run": "0f", "use": "best", "parts": {"encoder": "encoder"}}
    write_record(run, [source(start, what, None)])
    content = read_json(run.folder / "init_from.json")
    assert content == {**what, "named": ["experiment=a", "seed=1"]}
    assert record(run) == [content]


@pytest.mark.parametrize("content", [{"sources": []}, {"sources": 3}, {"sources": [{"run": "a"}]}, {"sources": [[]]}])
def test_a_damaged_record_of_several_sources_is_refused(tmp_path, content):
    run = RunStore(tmp_path).run("aa")
    run.set_status("done")
    write_json(run.folder / "init_from.json", content)
    with pytest.raises(RunError, match=r"init_from\.json is damaged"):
        record(run)


# Loading.


def filled(value, width=3):
    state = nn.ModuleDict({"one": nn.Linear(width, 2), "two": nn.Linear(width, 2)}).state_dict()
    return {key: torch.full_like(tensor, value) for key, tensor in state.items()}


PARTS = {"one": "one.", "two": "two.", "weight": "one.weight"}


def test_each_part_comes_from_its_own_source():
    model = nn.ModuleDict({"one": nn.Linear(3, 2), "two": nn.Linear(3, 2), "three": nn.Linear(1, 1)})
    kept = model["three"].weight.detach().clone()
    take_all(model, PARTS, [
        (Weights("first", filled(1.0), PARTS), {"two": "one"}), (Weights("second", filled(2.0), PARTS), {"one": "one"}),
    ])  # fmt: skip
    assert {float(value.mean()) for value in model["one"].state_dict().values()} == {2.0}
    assert {float(value.mean()) for value in model["two"].state_dict().values()} == {1.0}
    assert torch.equal(model["three"].weight, kept)


def test_a_source_that_does_not_fit_keeps_the_others_from_being_loaded():
    model = nn.ModuleDict({"one": nn.Linear(3, 2), "two": nn.Linear(3, 2)})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    right, wrong = Weights("right", filled(1.0), PARTS), Weights("wrong", filled(2.0, width=4), PARTS)
    with pytest.raises(WeightsError, match=r"wrong belongs to another model \(two\).*of another shape"):
        take_all(model, PARTS, [(right, {"one": "one"}), (wrong, {"two": "two"})])
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with pytest.raises(ConfigError, match="'weight', given by wrong, is within 'one', given by right"):
        take_all(model, PARTS, [(right, {"one": "one"}), (wrong, {"weight": "weight"})])
