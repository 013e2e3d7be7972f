"""Which sentences stand for a finding and for its absence? Prompt sets, checked against the labels of the data."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

SIDES = ("present", "absent")
_KEYS = ("templates", "names", "labels")
PLACE = "{}"
Sentences = Mapping[str, tuple[str, ...]]
"""present and absent -> sentences."""


class PromptSet:
    """Sentences per label.

    Args:
        given: `templates`: {present: [...], absent: [...]}, sentences with `{}` where the finding is named, for every label;
            `names`: label -> what a finding is called in them, one or several ways, instead of the label itself in small
            letters; `labels`: label -> {present: [...], absent: [...]}, whole sentences, instead of templates. Without
            templates the labels of `labels` alone are asked for.

    Raises:
        ConfigError: anything else, or a side without a sentence.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        for key in given:
            if key not in _KEYS:
                raise ConfigError(f"evaluation prompts: unknown key '{key}'{did_you_mean(str(key), _KEYS)}")
        templates, whole = given.get("templates"), given.get("labels") or {}
        if not templates and not whole:
            raise ConfigError("evaluation prompts has neither templates nor labels; expected sentences of one of them")
        self.templates = _sides("templates", templates) if templates else None
        for side, sentences in (self.templates or {}).items():
            for sentence in sentences:
                if sentence.count(PLACE) != 1:
                    raise ConfigError(
                        f"evaluation prompts.templates.{side} has {sentence!r}; expected one {PLACE} where the finding is named"
                    )
        self.names = {str(label): _texts(f"names.{label}", name) for label, name in (given.get("names") or {}).items()}
        self.whole = {str(label): _sides(f"labels.{label}", sides) for label, sides in whole.items()}

    def sentences(self, labels: Sequence[str]) -> dict[str, Sentences]:
        """Return the sentences of each label asked for, in the order of `labels`.

        Raises:
            ConfigError: the set names a label that is not among them.
        """
        for key, named in (("names", self.names), ("labels", self.whole)):
            for label in named:
                if label not in labels:
                    raise ConfigError(
                        f"evaluation prompts.{key} names the label '{label}'{did_you_mean(label, labels)}; the data has "
                        f"{', '.join(labels) or 'none'}: choose a prompt set for these, or null its entry"
                    )
        return {label: found for label in labels if (found := self._of(label))}

    def _of(self, label: str) -> Sentences:
        if label in self.whole or self.templates is None:
            return self.whole.get(label, {})
        called = self.names.get(label) or (label.replace("_", " ").lower(),)
        return {
            side: tuple(sentence.replace(PLACE, name) for name in called for sentence in sentences)
            for side, sentences in self.templates.items()
        }


def _sides(where: str, given: Any) -> Sentences:
    if not isinstance(given, Mapping) or set(given) != set(SIDES):
        found = sorted(map(str, given)) if isinstance(given, Mapping) else repr(given)
        raise ConfigError(f"evaluation prompts.{where} has {found}; expected sentences for present and absent")
    return {side: _texts(f"{where}.{side}", given[side]) for side in SIDES}


def _texts(where: str, given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given or ())
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ConfigError(f"evaluation prompts.{where} is {given!r}; expected a text, or a list of texts")
    return texts
