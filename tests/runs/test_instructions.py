"""Is an instruction that names a task that of the run's own task, and are evaluations without one what they were?"""

import copy

import pytest

from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import ConfigError
from cxrvl.files import write_yaml
from cxrvl.runs.evaluations import planned
from cxrvl.runs.instructions import instruction_of, instructions_of, with_instructions
from cxrvl.runs.store import Run

KNOWN = {"findings_impression": "Retrieve the impression.", "errors": "Retrieve the report."}


def test_names_become_texts_at_any_depth():
    given = {
        "_target_": "a.B", "instruction": {"task": "errors"}, "document_instruction": "Read it.",
        "tasks": {"a": {"query": {"of": "findings", "instruction": {"task": "findings_impression"}}, "document": {}},
                  "b": None},
        "penalties": [0.1],
    }  # fmt: skip
    before = copy.deepcopy(given)
    found = with_instructions(given, lambda: KNOWN, "evaluation.x")
    assert found["instruction"] == "Retrieve the report."
    assert found["document_instruction"] == "Read it."
    assert found["tasks"]["a"]["query"] == {"of": "findings", "instruction": "Retrieve the impression."}
    assert (found["tasks"]["b"], found["penalties"], given) == (None, [0.1], before)


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        ({"task": "error"}, KNOWN, r"x\.instruction: .* no task 'error' .*did you mean 'errors'.*findings_impression, errors"),
        ({"task": "errors"}, {}, r"learnt no task with an instruction, so there is none of 'errors'; give the instr"),
        ({"name": "errors"}, KNOWN, r"x\.instruction is .*expected a text, or \{task: <name"),
        ({"task": None}, KNOWN, r"expected a text, or \{task: <name"),
    ],
)  # fmt: skip
def test_what_no_task_can_be(given, known, message):
    with pytest.raises(ConfigError, match=message):
        with_instructions({"instruction": given}, lambda: known, "x")


def test_tasks_left_out_and_without_an_instruction_have_none():
    tasks = {"a": {"instruction": " Read. "}, "b": None, "c": {"instruction": ""}, "d": {}}
    assert instructions_of({"data": {"tasks": tasks}}) == {"a": "Read."}
    assert instructions_of({"data": {}}) == instructions_of({"data": {"tasks": None}}) == {}
    with pytest.raises(ConfigError, match=r"--task: the run learnt no task 'b'"):
        instruction_of("b", {"a": "Read."}, "--task")


def asked(run, *overrides, evaluation="texts_instructed"):
    data = ("data=phantom_triplets", "task=contrastive_text", "model=text_llama_tiny", "data.source.images=40")
    return {
        one.name: one for one in planned(run, resolved(compose_config([*data, f"evaluation={evaluation}", *overrides])))
    }


def test_evaluations_are_named_by_the_instructions_text(tmp_path):
    run = Run(tmp_path / "0123456789abcdef")
    plain = asked(run)
    told = plain["retrieval_instructed"].evaluator["tasks"]["findings_to_impression"]["query"]["instruction"]
    assert told == "Retrieve the impression that summarises these findings."
    same = asked(run, f"evaluation.errors_instructed.instruction={plain['errors_instructed'].evaluator['instruction']}")
    assert {name: one.eval_id for name, one in same.items()} == {name: one.eval_id for name, one in plain.items()}
    other = asked(run, "data.tasks.errors.instruction=Find it.")
    assert [name for name in plain if other[name].eval_id != plain[name].eval_id] == ["errors_instructed"]


def test_evaluations_without_instructions_are_those_they_were(tmp_path):
    """The ids of evaluators without a setting for what it says when it is empty; with a text they are others."""
    run = Run(tmp_path / "0123456789abcdef")
    plain = asked(run)
    later = {"retrieval": "document_instruction", "styles": "document_instruction", "noise": "document_instruction",
             "errors": "document_instruction", "similarity": "instruction", "probe": "instruction",
             "few_shot": "instruction"}  # fmt: skip
    without = asked(run, *(f"~evaluation.{name}.{key}" for name, key in later.items()))
    assert all(without[name].eval_id == plain[name].eval_id for name in later)
    told = asked(run, *(f"evaluation.{name}.{key}=Read it." for name, key in later.items()))
    assert not {told[name].eval_id for name in later} & {plain[name].eval_id for name in later}


def test_on_other_data_the_tasks_are_the_runs_own(tmp_path):
    run = Run(tmp_path / "0123456789abcdef")
    run.folder.mkdir()
    write_yaml(run.folder / "config.yaml", {"data": {"tasks": {"errors": {"instruction": "The run's own."}}}})
    others = ("~evaluation.retrieval_instructed", "~evaluation.styles_instructed")
    found = asked(run, *others)
    assert found["errors_instructed"].evaluator["instruction"] == "The run's own."
    with pytest.raises(
        ConfigError, match=r"evaluation\.styles_instructed\.tasks\.abbreviated\.query\.instruction: .*errors"
    ):
        asked(run, "~evaluation.retrieval_instructed")
