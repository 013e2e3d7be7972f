import pytest

from cxrvl.config.check import check, check_part
from cxrvl.config.compose import compose_config, config_dir, hydra_session, resolved
from cxrvl.config.compose_many import compose_fast
from cxrvl.errors import ConfigError
from cxrvl.runs.start import read_starts

EXPERIMENTS = sorted(
    str(p.relative_to(config_dir() / "experiment").with_suffix(""))
    for p in (config_dir() / "experiment").glob("*/*.yaml")
    if not p.name.startswith("_")
)
OPTIONS = sorted(
    f"{folder.name}={option.stem}"
    for folder in config_dir().iterdir()
    if folder.is_dir() and folder.name not in ("experiment", "hydra")
    for option in folder.glob("*.yaml")
    if not option.name.startswith("_")
)


@pytest.fixture(scope="module")
def session():
    """Hydra made ready once for all rows."""
    with hydra_session():
        yield


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_sound_and_starts_from_one_that_is(session, experiment):
    config = resolved(compose_fast([f"experiment={experiment}"]))
    assert config["name"] == experiment
    assert check(config) > 5
    for source in (source for source in read_starts(config) if source.kind == "run"):
        start = resolved(compose_fast(source.source))
        assert start["name"] in EXPERIMENTS
        assert start["seed"] == config["seed"]
        assert check(start) > 5
        if {"text_tower", "image_tower"} & set(source.parts or ()):
            continue  # towers learnt apart learnt from data of their own
        same = ("source", "labels", "store", "label_fraction", "unlabelled_folds")
        for key in same if "unlabelled_folds" in config["data"] else ("source", "store"):
            assert start["data"].get(key) == config["data"].get(key), f"the chain changes its data: data.{key}"


NEEDS_MORE = {
    "data=manifest": "data.root", "data=folder": "data.root", "model=timm": "model.backbone.name",
    "model=text_folder": "model.base.folder", "model=text_gguf": "model.base.file", "model=text_hub": "model.base.name",
    "model=text_llm2vec4cxr": "model.folder", "data=reports_file": "data.root", "data=reports_file_triplets": "data.root",
    "model=text_open_clip": "model.name", "model=dual_llm2clip": "model.text_tower.folder",
    "model=dual_llm2clip_release": "model.folder",
}  # fmt: skip


SELF_TRAINING = {f"task={path.stem}" for path in (config_dir() / "task").glob("*.yaml")} - {
    "task=classification", "task=classification_acm_release", "task=contrastive_text", "task=contrastive_text_release",
    "task=masked_text", "task=dual_tower",
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option):
    if option in NEEDS_MORE:
        with pytest.raises(ConfigError, match=f"missing mandatory value: .*{NEEDS_MORE[option]}=\\.\\.\\."):
            resolved(compose_config([option]))
    else:
        network = ["model=distl_vit_micro"] if option in SELF_TRAINING else []
        assert check(resolved(compose_config([*network, option]))) > 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+seeed=1", ["unknown key 'seeed'", "'seed'"]),
        ("+trainer.max_epoch=3", ["trainer.max_epoch", "'max_epochs'"]),
        ("+data.source.imges=3", ["data.source.imges", "'images'"]),
        ("+data.batchsize=3", ["data.batchsize", "'batch_size'"]),
        ("+data.pin_memry=true", ["data.pin_memry", "'pin_memory'"]),
        ("+data.options=3", ["unknown key 'data.options'"]),
        ("+task.optimizer.learning_rate=3", ["task.optimizer.learning_rate", "torch.optim.AdamW"]),
        ("data._target_=cxrvl.data.modules.ClasificationDataModule", ["data._target_", "ClassificationDataModule"]),
        ("data._target_=nowhere.at.all", ["data._target_", "nowhere.at.all"]),
        ("data.store.size=abc", ["'abc'", "expects int"]),
        ("~data.batch_size", ["missing key 'data.batch_size'"]),
        ("model=3", ["Config group override must be a string"]),
        ("data.source=null", ["'data.source' is None", "_target_"]),
        ("+evaluation.findings2=3", ["'evaluation.findings2' is 3", "_target_"]),
        ("+logger.mine=3", ["'logger.mine' is 3"]),
        ("threads=0", ["'threads' is 0", "at least 1"]),
        ("trainer.check_val_every_n_epoch=0", ["'trainer.check_val_every_n_epoch' is 0"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs=0", "is no length"]),
        ("trainer.max_steps=-3", ["trainer.max_steps=-3", "trainer.max_steps=0 to evaluate a model as it starts"]),
        ("trainer.max_epochs=-1", ["trainer.max_epochs=-1", "is no length"]),
        ("~checkpoint.use", ["cannot set ~checkpoint.use", "does not support deletion"]),
    ],
)
def test_what_struct_mode_lets_through_is_caught(override, words):
    with pytest.raises(ConfigError) as error:
        check(compose_config([override]))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_an_evaluation_may_be_switched_off_and_steps_may_be_the_length():
    assert check(compose_config(["evaluation.marks=null", "trainer.max_epochs=-1", "trainer.max_steps=5"])) > 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+data.tasks.findings_impresion.triplets=3", "findings_impresion' is .*did you mean 'findings_impression'"),
        ("+data.tasks.external.file=x.jsonl", "data.tasks.external' is .*expected a mapping with a _target_, or null"),
    ],
)
def test_what_is_no_task_is_caught(override, words):
    with pytest.raises(ConfigError, match=words):
        check(compose_config(["data=phantom_triplets", "model=text_llama_tiny", "task=contrastive_text", override]))


def test_a_partial_need_not_be_complete_but_a_whole_target_must():
    content = {"_target_": "torch.optim.SGD", "lr": 0.1}
    config = resolved(compose_config())
    config["callbacks"] = {"a": {**content, "_partial_": True}}
    check(config)
    config["callbacks"] = {"a": content}
    with pytest.raises(ConfigError, match=r"missing key 'callbacks.a.params'"):
        check(config)


def test_one_part_is_checked_without_the_others():
    config = resolved(compose_config(["data.source.images=5"]))
    config["model"]["_target_"] = "cxrvl.no.such.Model"
    assert check_part(config, "data.source") == 1
    config["data"]["source"]["image"] = 3
    with pytest.raises(ConfigError, match=r"data\.source\.image.*images"):
        check_part(config, "data.source")
    with pytest.raises(ConfigError, match=r"'data\.nothing' is None"):
        check_part(config, "data.nothing")


@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last", "cls", "latent_attention"])
@pytest.mark.parametrize("lora", ["none", "default", "attention"])
def test_every_pooling_and_adapter_composes(pooling, lora):
    chosen = ["model=text_llama_tiny", f"model/pooling={pooling}", f"model/lora={lora}", "data=phantom_triplets"]
    config = resolved(compose_config([*chosen, "task=contrastive_text", "evaluation=texts"]))
    assert check(config) > 15


def test_training_nothing_takes_one_device():
    config = resolved(compose_config(["trainer.max_steps=0", "trainer.devices=2"]))
    with pytest.raises(ConfigError, match="trains nothing, on one device"):
        check(config)


@pytest.mark.parametrize("tower", sorted(path.stem for path in (config_dir() / "model/image_tower").glob("*.yaml")))
def test_every_image_tower_composes_with_every_projection_and_loss(tower):
    named = ["model.backbone.name=some"] if tower in ("timm", "open_clip") else []
    for projection in sorted(path.stem for path in (config_dir() / "model/projection").glob("*.yaml")):
        loss = {"linear": "info_nce", "mlp": "siglip", "normed_linear": "info_nce_soft", "residual": "siglip_soft"}[
            projection
        ]
        chosen = [
            "data=phantom_pairs", "task=dual_tower", "model=dual_tiny", f"model/image_tower@model={tower}",
            f"model/projection@model.image_projection={projection}", f"task/loss={loss}", "evaluation=dual_short", *named,
        ]  # fmt: skip
        assert check(resolved(compose_config(chosen))) > 15


@pytest.mark.parametrize("text", ["text_bert_tiny", "text_minilm", "text_smollm2", "text_open_clip"])
def test_every_kind_of_text_tower_composes(text):
    named = ["model.text_tower.name=ViT-B-32"] if text == "text_open_clip" else ["model.text_tower.max_length=64"]
    chosen = ["data=phantom_pairs", "task=dual_tower", "model=dual", f"model@model.text_tower={text}", *named]
    assert check(resolved(compose_config([*chosen, "evaluation=dual"]))) > 15
