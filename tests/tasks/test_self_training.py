"""What does a generation learn from, when does the teacher follow, and what is never learnt from?"""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from self_training_runs import HAND_OVER, RELEASED, TINY, VIT, Stepwise, config_of, copied, fit, same

from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import ConfigError, RunError, WeightsError
from cxrvl.runs.making import make_upstream
from cxrvl.runs.parts import Weights, take
from cxrvl.runs.trainer import build_data, build_task
from cxrvl.tasks.inspection import FILE

TASKS = (
    "self_training", "dino_only", "self_training_only", "mean_teacher", "noisy_student", "fixmatch", "no_correction",
    "no_ramp",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder, so that the images are drawn once."""
    return tmp_path_factory.mktemp("self_training")


@pytest.mark.parametrize("name", TASKS)
def test_every_method_trains_what_it_says(folder, name):
    config = config_of(folder, f"task={name}", "trainer.max_epochs=1")
    before = build_task(config)
    task, data, trainer = fit(config, folder)
    assert task.teaching.step == data.clock().steps
    logged = trainer.callback_metrics
    weights = {
        "train/dino": task.dino_weight, "train/self_training": task.self_training_weight,
        "train/labelled": task.labelled_weight,
    }  # fmt: skip
    for term, weight in weights.items():
        assert (term in logged) == bool(weight)
    assert all(math.isfinite(float(value)) for value in logged.values())
    assert {"val/auroc", "val/teacher_auroc", "train/teacher_retention"} <= set(logged)
    changed = {part: not same(copied(getattr(before.model, part)), copied(getattr(task.model, part)))
               for part in ("encoder", "class_head", "feature_head")}  # fmt: skip
    assert changed == {"encoder": True, "class_head": True, "feature_head": bool(task.dino_weight)}
    if name == "noisy_student":
        assert same(copied(before.teacher), copied(task.teacher)), "its teacher stays as it is"
    else:
        assert not same(copied(before.teacher.encoder), copied(task.teacher.encoder))
    assert bool(task.dino.centre.any()) == bool(task.dino_weight)


def test_a_weight_of_1_for_self_distillation_still_learns_the_labels(folder):
    """The released lambda of 1 would take them away."""
    turned = Labels(lambda targets: 1 - targets)
    config = config_of(folder, "task=dino_only", "task.dino_weight=1.0", "trainer.max_epochs=1")
    one, other = fit(config, folder)[0], fit(config, folder, turned)[0]
    assert turned.seen
    assert not same(copied(one.model.class_head), copied(other.model.class_head))


class Labels(pl.Callback):
    """Changes the labels of one stream on their way to the task."""

    def __init__(self, change, stream="labelled", name="target") -> None:
        self.change, self.stream, self.name, self.seen = change, stream, name, 0

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if self.stream in batch:
            batch[self.stream][self.name].copy_(self.change(batch[self.stream][self.name]))
            self.seen += 1


def test_withheld_labels_are_looked_at_and_never_learnt_from(folder):
    config = config_of(folder)
    turned = Labels(lambda targets: 1 - targets, "unlabelled", "withheld")
    (one, _, trainer), (other, _, disturbed) = fit(config, folder), fit(config, folder, turned)
    assert turned.seen
    assert same(copied(one), copied(other))
    name = "train/pseudo_label_auroc"
    assert trainer.callback_metrics[name] == pytest.approx(1 - disturbed.callback_metrics[name])


def test_without_correction_no_label_matters(folder):
    config = config_of(folder, "task=no_correction", "trainer.max_epochs=1")
    one = fit(config, folder)[0]
    other = fit(config, folder, Labels(lambda targets: 1 - targets))[0]
    assert same(copied(one), copied(other))


def test_interleaved_the_teacher_follows_every_step_and_leaves_the_stated_share(folder):
    seen = Stepwise(lambda task: (copied(task.teacher.class_head), task.teaching.kept))
    task, data, trainer = fit(config_of(folder, "task.teacher_momentum.share=0.2"), folder, seen)
    assert task.teaching.kept == pytest.approx(0.2)
    assert task.teaching.step == len(seen.seen) == 2 * data.clock().steps == trainer.global_step
    for (_, (one, kept)), (_, (two, left)) in pairwise(seen.seen):
        assert not same(one, two)
        assert left < kept


def test_released_the_teacher_follows_unlabelled_steps_alone_and_the_first_correction_learns_nothing(folder):
    seen = Stepwise(lambda task: (copied(task.teacher), copied(task.model), task.dino.centre.clone()))
    config = config_of(folder, *RELEASED, network=VIT)
    task, data, _ = fit(config, folder, seen)
    steps = data.clock().steps
    assert task.teaching.step == 2 * steps
    streams = "".join(stream[0] for (stream,), _ in seen.seen)
    labelled = len(data.labelled()) // 4
    expected = "".join("u" + ("l" * labelled if step % 5 == 0 else "") for step in range(2 * steps))
    assert streams == expected
    for (_, (teacher, _, centre)), ((stream,), (followed, _, centred)) in pairwise(seen.seen):
        assert same(teacher, followed) == (stream == "labelled")
        assert not torch.equal(centre, centred), "every self-distillation moves the centre"
    (_, (_, first, _)), (_, (_, corrected, _)) = seen.seen[0], seen.seen[labelled]
    assert same(first, corrected), "the learning rate of step 0 is 0"
    (_, (_, before, _)), (_, (_, after, _)) = seen.seen[labelled + 5], seen.seen[labelled + 6]
    assert not same(before, after)


def test_supervised_the_teacher_follows_labelled_steps(folder):
    config = config_of(folder, "task=labels_only", "data.generation=0")
    before = build_task(config)
    task, data, trainer = fit(config, folder)
    assert task.teaching.step == trainer.global_step == 2 * data.clock().steps
    assert same(copied(before.model.feature_head), copied(task.model.feature_head))
    assert "train/pseudo_label_auroc" not in trainer.callback_metrics


def test_prototypes_stay_in_the_first_epoch(folder):
    seen = Stepwise(lambda task: copied(task.model.feature_head))
    _, data, _ = fit(config_of(folder, "task.freeze_prototypes=1"), folder, seen)
    steps = data.clock().steps
    last, first = "last_layer.parametrizations.weight.original1", "mlp.0.weight"
    heads = [head for _, head in seen.seen]
    assert torch.equal(heads[0][last], heads[steps - 1][last])
    assert not torch.equal(heads[0][first], heads[steps - 1][first])
    assert not torch.equal(heads[steps - 1][last], heads[steps][last])


@pytest.mark.parametrize("way", HAND_OVER)
def test_generations_are_handed_over_by_parts(folder, way):
    config = config_of(folder, "trainer.max_epochs=1")
    first, _, _ = fit(config, folder)
    second = build_task({**config, "seed": 5})
    weights = Weights("first", first.state_dict(), first.parts())
    take(second, second.parts(), weights, HAND_OVER[way])
    sources = {"student": first.model, "teacher": first.teacher}
    assert same(copied(second.model), copied(sources[HAND_OVER[way]["student"]]))
    assert same(copied(second.teacher), copied(sources[HAND_OVER[way]["teacher"]]))
    assert not second.dino.centre.any(), "reset"
    take(second, second.parts(), weights, {**HAND_OVER[way], "centre": "centre"})
    assert torch.equal(second.dino.centre, first.dino.centre)


def test_a_teacher_with_other_heads_is_refused(folder):
    first, second = (build_task(config_of(folder, *words)) for words in ((), ("model.feature_head.prototypes=16",)))
    with pytest.raises(
        WeightsError, match=r"run x belongs to another model .*teacher\.feature_head.*nothing was loaded"
    ):
        take(second, second.parts(), Weights("run x", first.state_dict(), first.parts()), {"teacher": "teacher"})


@pytest.mark.parametrize(
    ("parts", "forgotten"),
    [
        ({"encoder": "encoder"}, "encoder"),
        ({"student": "student", "teacher_encoder": "encoder"}, "class_head, feature_head"),
    ],
)
def test_a_student_whose_teacher_was_forgotten_is_refused(folder, parts, forgotten):
    config = config_of(folder)
    first, second = build_task({**config, "seed": 5}), build_task(config)
    take(second, second.parts(), Weights("first", first.state_dict(), first.parts()), parts)
    with pytest.raises(ConfigError, match=rf"none to its teacher \({forgotten}\).*teacher_{forgotten.split(',')[0]}:"):
        fit(config, folder, task=second)


@pytest.mark.parametrize("table", ["covid", "kermany", "pneumothorax", "tuberculosis"])
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["init_from.parts={student: teacher, teacher: teacher}"], HAND_OVER["teacher"]),
        (["init_from.parts={student: student, teacher: student}"], HAND_OVER["student"]),
        (["+init_from.parts.centre=centre"], {**HAND_OVER["each"], "centre": "centre"}),
        (
            ["~init_from.parts", "+init_from.parts={encoder: encoder, teacher_encoder: encoder}"],
            {"encoder": "encoder", "teacher_encoder": "encoder"},
        ),
    ],
)
def test_the_overrides_that_the_tables_offer_hand_over_what_they_say(table, words, parts):
    told = Path(f"experiments/distl_{table}/README.md").read_text()
    config = compose_config([f"experiment=distl_{table}/t2", *words])
    assert config["init_from"]["parts"] == parts
    assert all(word in told for word in words)


class Poison(pl.Callback):
    """Makes the student answer NaN from a step on."""

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_step == 3:
            with torch.no_grad():
                task.model.class_head.mlp[0].bias[0] = torch.nan
            self.index = batch["unlabelled"]["index"].clone()
            self.before = copied(task)


def test_a_loss_that_is_no_number_stops_with_its_batch_saved(folder, tmp_path):
    poison = Poison()
    config = config_of(folder)
    task = build_task(config)
    with pytest.raises(
        RunError, match=r"the loss is nan in epoch 1, batch 0, rank 0 \(.*self_training.*not_finite\.pt"
    ):
        fit(config, tmp_path, poison, task=task)
    kept = torch.load(tmp_path / FILE, weights_only=True)
    assert torch.equal(kept["batch"]["unlabelled"]["index"], poison.index)
    assert kept["batch"]["unlabelled"]["image"].dtype == torch.uint8
    assert kept["terms"]["self_training"].isnan()
    assert kept["terms"]["dino"].isfinite()
    assert set(kept["batch"]["unlabelled"]) == {"image", "index", "fov", "withheld"}, "no text, no name"
    poisoned = {name for name, value in copied(task).items() if value.is_floating_point() and value.isnan().any()}
    assert poisoned == {"model.class_head.mlp.0.bias"}, "the optimiser took no step"


def test_a_collapse_is_warned_of_once(folder, caplog):
    config = config_of(folder, "task=dino_only", "task.dino.teacher_temperature=1000.0")
    fit(config, folder)
    (said,) = [record.getMessage() for record in caplog.records if "collapsing" in record.getMessage()]
    assert re.match(r"step \d+: self-distillation is collapsing: the teacher's output is uniform", said)
    assert "task.dino.teacher_temperature" in said
    caplog.clear()
    fit(config_of(folder, "task=dino_only"), folder)
    assert not [record for record in caplog.records if "collapsing" in record.getMessage()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("task.dino_weight=-1",), r"task\.dino_weight is -1; expected a number of at least 0"),
        (("task.dino_weight=nan",), r"task\.dino_weight is nan; expected a number of at least 0"),
        (("task.labelled_weight=inf",), r"task\.labelled_weight is inf; expected a number of at least 0"),
        (("task.dino_weight=abc",), r"task\.dino_weight is 'abc'; expected a number of at least 0"),
        (("task.ramp=-2",), r"task\.ramp is -2; expected a number above 0"),
        (("task.clip_each=0",), r"task\.clip_each is 0; expected a number above 0"),
        (("task.clip_each=-1",), r"task\.clip_each is -1; expected a number above 0"),
        (("task.freeze_prototypes=-3",), r"task\.freeze_prototypes is -3; expected a whole number of at least 0"),
        (("task.classes_only_from=-1",), r"task\.classes_only_from is -1; expected a whole number of at least 0"),
        (("task.classes_only_from=1.5",), r"task\.classes_only_from is 1\.5; expected a whole number"),
        (
            ("+task.teacher_temperature_warmup={start:0.0,epochs:1}",),
            r"warmup\.start is 0\.0; expected a number above 0",
        ),
        (("+task.teacher_temperature_warmup={first:0.1}",), r"has the keys \['first'\]; expected start and epochs"),
        (
            ("task=fixmatch", "task.pseudo_labels.num_labels=3"),
            r"num_labels is 3, but the class head names 6 label\(s\)",
        ),
        (("task.roles.teacher=[]",), r"task\.roles\.teacher is empty with task\.dino_weight=0\.5.*task\.dino_weight=0"),
        (("task.roles.teacher=[original,original]",), r"\['original', 'original'\]: a view is named twice"),
        (
            (
                "+task.views.groups.global.count=0",
                "task.views.groups.local.count=0",
                "task.roles={pseudo_label:original,classes:original,teacher:[original]}",
            ),
            r"the view 'original' alone with task\.dino_weight=0\.5",
        ),
        (("task.self_training_weight=0", "task.labelled_weight=0"), "both 0, so nothing teaches the labels"),
        (("task.pseudo_labels=null",), r"task\.self_training_weight is 0\.5, but task\.pseudo_labels is null"),
        (("task.dino=null",), r"task\.dino_weight is 0\.5, but task\.dino is null"),
        (("task.dino.prototypes=8",), r"task\.dino\.prototypes is 8, model\.feature_head\.prototypes 32"),
        (("task.pseudo_label_source=nobody",), "expected teacher or student"),
        (("task.roles.classes=globl",), r"there is no view 'globl'.*global"),
        (("+task.roles.more=global",), r"expected pseudo_label, classes and teacher"),
        (("task.teacher_momentum.share=0",), r"retention=0"),
        (("task.schedule={_target_:cxrvl.tasks.released.ReleasedSchedule}",), "set one of them to null"),
        (("task.schedule={_target_:cxrvl.tasks.released.ReleasedSchedule,peak:-1}",), "expected numbers of at least 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(folder, words, told):
    with pytest.raises(ConfigError, match=told):
        build_task(config_of(folder, *words))


def test_a_model_without_a_feature_head_says_what_goes_with_it():
    words = ["data=phantom_self_training", "model=distl_vit_micro", "task=self_training", "model/feature_head=none"]
    with pytest.raises(ConfigError, match=r"prototypes=None.*task\.dino=null task\.dino_weight=0"):
        build_task(resolved(compose_config(words)))
    with pytest.raises(ConfigError, match=r"model\.feature_head is null.*task\.dino=null task\.dino_weight=0"):
        build_task(resolved(compose_config([*words, "task.dino.prototypes=32"])))
    task = build_task(resolved(compose_config([*words, "task.dino=null", "task.dino_weight=0"])))
    assert task.model.feature_head is None


def test_views_that_the_patch_does_not_divide_are_refused_before_anything_is_read(folder):
    words = ("task.views.groups.local.size=20",)
    with pytest.raises(ConfigError, match=r"the view 'local\.0' has 20 x 20 px; expected multiples.*8 x 8 px"):
        build_task(config_of(folder, *words, network=VIT))
    build_task(config_of(folder, *words))


def test_labels_that_would_never_be_shown_are_refused(folder):
    for ratio in ("0.01", "1e-9"):
        config = config_of(folder, f"data.ratio={ratio}", "trainer.max_epochs=1")
        with pytest.raises(ConfigError, match=r"data\.ratio=.* gives no labelled part in the 3 steps.*at least 0\.33"):
            fit(config, folder)
    _, _, trainer = fit(config_of(folder, "task=no_correction", "data.ratio=0.01", "trainer.max_epochs=1"), folder)
    assert trainer.callback_metrics["train/labelled_images"] == 0


def test_the_log_counts_how_often_labels_were_shown(folder, caplog):
    seen = Stepwise(lambda task: task.labelled_images)
    _, data, trainer = fit(config_of(folder), folder, seen)
    shown = 4 * sum("labelled" in streams for streams, _ in seen.seen)
    assert [count for _, count in seen.seen][-1] == shown == data.shown(2).images > 0
    assert trainer.callback_metrics["train/labelled_images"] == shown
    assert trainer.callback_metrics["train/corrections"] == pytest.approx(shown / len(data.labelled()))
    _, data, trainer = fit(config_of(folder, *RELEASED), folder)
    passes = math.ceil(2 * data.clock().steps / 5)
    assert trainer.callback_metrics["train/corrections"] == passes == data.shown(2).corrections
    assert trainer.callback_metrics["train/labelled_images"] == passes * (len(data.labelled()) // 4) * 4
    assert "the only labelled pass" not in caplog.text
    fit(config_of(folder, *RELEASED, "data.correction_every=1000", "trainer.max_epochs=1"), folder)
    assert "the only labelled pass of this training follows its first step, where the learning rate is 0" in caplog.text
    _, data, trainer = fit(config_of(folder, "task=labels_only", "data.generation=0"), folder)
    assert trainer.callback_metrics["train/corrections"] == 2
    assert trainer.callback_metrics["train/labelled_images"] == data.shown(2).images


def test_one_image_that_a_batchnorm_cannot_normalise_is_refused(folder):
    words = ("data.labelled_batch_size=1", "trainer.max_epochs=1")
    with pytest.raises(ConfigError, match=r"data\.labelled_batch_size leaves one image per device.*32 x 32 px"):
        fit(config_of(folder, *words), folder)
    fit(config_of(folder, *words, network=VIT), folder)


def test_the_teacher_s_temperature_warms_up_where_it_is_told_to(folder):
    asked = []

    class Asked(pl.Callback):
        def on_train_start(self, trainer, task):
            task.dino.register_forward_pre_hook(lambda _, given: asked.append(given[3]))

    warmup = "+task.teacher_temperature_warmup={start:0.02,epochs:2}"
    fit(config_of(folder, "task=dino_only", warmup, "trainer.max_epochs=3"), folder, Asked())
    assert asked == pytest.approx([0.02] * 3 + [0.04] * 6)


def test_heads_take_turns_where_a_step_leaves_one_out(folder):
    def turns(*words):
        config = config_of(folder, *words)
        return build_task(config).heads_take_turns(build_data(config))

    assert not turns()
    assert not turns(*RELEASED)
    assert not turns("task=self_training_only")
    assert not turns("task=labels_only", "data.generation=0")
    assert not turns("task=dino_only", "data.ratio=1")
    assert turns("task=dino_only")
    assert turns("task.classes_only_from=1")
    assert turns(*RELEASED, "task.dino_on_labelled=false")
    assert turns("data.generation=0")


def test_three_sets_that_state_one_finding_each_train_together(folder):
    """A third of the pseudo-labels of an image counts, of the heads' other two nothing is said in its set."""
    network = ("data=mixture_self_training", "model=distl_resnet10_narrow")
    config = resolved(compose_config([
        *network, "task=self_training", *(word for word in TINY if word != "data.source.images=160"),
        "trainer.max_epochs=1", f"paths.stores={folder}/stores",
    ]))  # fmt: skip
    for source in config["data"]["source"]["sources"]:
        source["images"] = 80
    before = build_task(config)
    task, _, trainer = fit(config, folder)
    assert trainer.callback_metrics["train/pseudo_labels_used"] == pytest.approx(1 / 3)
    last, first = (one.model.class_head.mlp[-1].weight for one in (task, before))
    assert all(not torch.equal(a, b) for a, b in zip(last, first, strict=True)), "all three are learnt"
    config["data"]["pseudo_labels_of"] = "all"
    assert fit(config, folder)[2].callback_metrics["train/pseudo_labels_used"] == 1


def test_a_resume_point_that_does_not_count_labels_still_loads(folder):
    task = build_task(config_of(folder))
    task.labelled_images = 12
    kept: dict = {}
    task.on_save_checkpoint(kept)
    task.on_load_checkpoint(kept)
    assert task.labelled_images == 12
    del kept["self_training"]["labelled_images"]
    task.on_load_checkpoint(kept)
    assert task.labelled_images == 0


def test_the_released_peak_follows_the_batch():
    for size, peak in ((16, 5e-5), (32, 1e-4)):
        words = ["data=phantom_self_training", "model=distl_vit_micro", "task=self_training_release"]
        config = resolved(compose_config([*words, f"data.batch_size={size}"]))
        assert config["task"]["schedule"]["peak"] == peak


def test_a_chain_is_refused_before_its_first_run_is_made(folder, monkeypatch):
    def made(overrides):
        raise AssertionError("a run was made")

    monkeypatch.setattr("cxrvl.runs.processes.train", made)
    words = ["experiment=phantom/distl_t1", "data.source.images=160", "data.store.size=32", f"paths.runs={folder}/runs"]
    for word, told in (("task.roles.teacher=[]", r"task\.roles\.teacher is empty"), ("data.ratio=abc", "is 'abc'")):
        with pytest.raises(ConfigError, match=told):
            make_upstream(resolved(compose_config([*words, word])))
    with pytest.raises(AssertionError, match="a run was made"):
        make_upstream(resolved(compose_config(words)))


def test_a_stream_without_a_loss_is_refused(folder):
    config = config_of(folder, *RELEASED, "task.dino_weight=0", "task.self_training_weight=0")
    with pytest.raises(ConfigError, match="a step holds unlabelled images, and no loss has a weight for them"):
        fit(config, folder)


def test_tokens_of_a_transformer_are_decayed_only_as_released(folder):
    def undecayed(*words):
        task = build_task(config_of(folder, *words, network=VIT))
        names = {id(parameter): name.rpartition(".")[2] for name, parameter in task.named_parameters()}
        return {names[id(parameter)] for parameter in task.parameter_groups()[1]["params"]}

    assert {"cls_token", "pos_embed", "bias"} <= undecayed()
    assert not {"cls_token", "pos_embed"} & undecayed("task.decay_tokens=true")


def test_the_teacher_stays_in_evaluation_mode(folder):
    modes = set()

    class Modes(pl.Callback):
        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            modes.add((task.model.training, any(module.training for module in task.teacher.modules())))

    fit(config_of(folder, "trainer.max_epochs=2"), folder, Modes())
    assert modes == {(True, False)}
