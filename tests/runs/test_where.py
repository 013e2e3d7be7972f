import pytest

from cxrvl.errors import ConfigError
from cxrvl.runs.where import conditions, field_of

KNOWN = {
    "run", "status", "status:name", "status:seed", "config:seed", "config:model.groups", "config:data.batch_size",
    "metric:findings.mean.auroc", "metric:findings.labels.Nodule.auroc", "metric:marks.mean.hit", "config:trainer.lr",
    "config:data.source.size", "config:data.store.size", "status:fingerprint.pixels.severity",
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "value", "holds"),
    [
        ("a=phantom/*", "phantom/acm", True),
        ("a=phantom/*", "acm_coco/acm", False),
        ("a=phantom", "phantom/acm", False),
        ("a=0", 0, True),
        ("a=0", 0.0, True),
        ("a=1e-3", 0.001, True),
        ("a=1", True, False),
        ("a=12e4567890123456", "13e4567890123456", False),
        ("a=12e4567890123456", "12e4567890123456", True),
        ("a=true", True, True),
        ("a=null", None, True),
        ("a=*", None, False),
        ("a=[1,2]", [1, 2], True),
        ("a=[1*", [1, 2], True),
        ("a=[ab]cm", "acm", True),
        ("a!=failed", "done", True),
        ("a!=failed", "failed", False),
        ("a!=failed", None, True),
        ("a>0.8", 0.81, True),
        ("a>0.8", 0.8, False),
        ("a>=0.8", 0.8, True),
        ("a<3", 2, True),
        ("a<=3", None, False),
        ("a>0", "text", False),
    ],
)
def test_a_condition(word, value, holds):
    (condition,) = conditions([word])
    assert condition.holds(value) is holds


def test_conditions_are_joined_by_spaces_and_by_words():
    joined = conditions(["experiment=phantom/* status=failed", "name='two words'"])
    assert [(c.key, c.sign, c.value) for c in joined] == [
        ("experiment", "=", "phantom/*"),
        ("status", "=", "failed"),
        ("name", "=", "two words"),
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [("failed", "is no condition; expected key=value"), ("a>b", "expected a number after >"), ("a='", "quotation")],
)
def test_what_is_no_condition(word, message):
    with pytest.raises(ConfigError, match=message):
        conditions([word])


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("status", "status"),
        ("state", "status"),
        ("experiment", "status:name"),
        ("seed", "status:seed"),
        ("model.groups", "config:model.groups"),
        ("groups", "config:model.groups"),
        ("findings.mean.auroc", "metric:findings.mean.auroc"),
        ("auroc", "metric:findings.mean.auroc"),
        ("Nodule.auroc", "metric:findings.labels.Nodule.auroc"),
    ],
)
def test_a_key_names_a_field(key, field):
    assert field_of(key, KNOWN) == field


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("modle.groups", "did you mean 'model.groups'"),
        ("exprimnt", "did you mean 'experiment'"),
        ("experimnt", "did you mean 'experiment'"),  # and not severity
        ("grops", "did you mean 'model.groups'"),
        ("size", r"2 fields end so; give more of the name \(data.source.size, data.store.size"),
    ],
)
def test_an_unknown_key(key, message):
    with pytest.raises(ConfigError, match=message):
        field_of(key, KNOWN)
