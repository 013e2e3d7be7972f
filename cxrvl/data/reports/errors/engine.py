"""Which errors are there, and which of them does a report offer a place for?"""

from collections.abc import Mapping, Sequence

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.edits import Styled
from cxrvl.data.reports.errors import claims, degrees, devices, locations, measurements, opposites
from cxrvl.data.reports.errors.injection import Injection
from cxrvl.data.reports.style.engine import style_generator
from cxrvl.errors import ConfigError

ERRORS: Mapping[str, Injection] = {
    injection.name: injection
    for injection in (
        Injection("severity", degrees.places, degrees.holds),
        Injection("location", locations.places, locations.holds),
        Injection("false_prediction", claims.predictions, claims.prediction_holds),
        Injection("false_negation", claims.negations, claims.negation_holds),
        Injection("measurement", measurements.places, measurements.holds),
        Injection("opposite_sentence", opposites.places, opposites.holds),
        Injection("add_device", devices.additions, devices.addition_holds),
        Injection("rename_device", devices.renamings, devices.renaming_holds),
        Injection("move_device", devices.movings, devices.moving_holds),
    )
}
"""The nine errors by name: the categories of LLM2CLIP4CXR's error prompt (papers/llm2clip4cxr.md 1.5).

Called with (text, generator), each gives the text with one change, whose span is recorded, or None without a place.
"""


def check_errors(kinds: Sequence[str]) -> None:
    """Refuse unknown errors, none at all, and one named twice; ConfigError names the nearest."""
    for kind in kinds:
        if kind not in ERRORS:
            raise ConfigError(f"unknown report error '{kind}'{did_you_mean(kind, list(ERRORS))}")
    if not kinds or len(set(kinds)) < len(kinds):
        raise ConfigError(f"report errors {list(kinds)}: expected at least one, each named once")


def inject(text: str, kinds: Sequence[str], *, seed: int, key: str, epoch: int = 0) -> Styled | None:
    """Put one error into a text: of the kinds named, one drawn among those the text has a place for.

    Args:
        kinds: names of `ERRORS`; their order does not matter.
        seed, epoch, key: the same give the same text; key names the report.

    Returns:
        The text with exactly one change, its kind written as in `ERRORS` (false_prediction and false_negation add the
        finding behind a colon), or None if the text offers no place for any of them.
    """
    check_errors(kinds)
    names = sorted(kinds)
    for number in style_generator(seed, epoch, key, "errors").permutation(len(names)):
        name = names[number]
        found = ERRORS[name](text, style_generator(seed, epoch, key, name))
        if found is not None:
            return found
    return None
