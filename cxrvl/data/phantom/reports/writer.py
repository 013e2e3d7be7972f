"""How does a house report what an image shows? Sections, written from a style's lists."""

from collections.abc import Mapping
from typing import Any

from cxrvl.data.phantom.reports.choice import Choice
from cxrvl.data.phantom.reports.facts import UNCHANGED, Fact, Study
from cxrvl.data.phantom.reports.grammar import grammar

# Below this severity a style with doubtful frames may leave open whether a finding is there.
_FAINT = 0.2
_REGIONS = (
    ("Consolidation", "Atelectasis", "Nodule", "Tuberculosis", "COVID-19"),
    ("Effusion", "Pneumothorax"),
    ("Cardiomegaly",),
)
# Which lists of denials belong to which of these regions: lungs, pleura, heart.
_DENIALS = (("lungs", "lungs_volume", "nodules"), ("pleura", "fluid", "air"), ("heart",))


def write(study: Study, style: str) -> dict[str, str]:
    """Report one image in a house style ("prose", "terse", "verbose").

    Returns:
        section -> text for the style's sections, and `report`: all of them under their headers. The same study and
        style give the same text.
    """
    writer = _Writer(study, style)
    sections = {name: getattr(writer, name)() for name in writer.lists["sections"]}
    headers = writer.lists["headers"]
    whole = "\n\n".join(f"{headers[name]}: {text}" for name, text in sections.items())
    return {**sections, "report": whole}


class _Writer:
    def __init__(self, study: Study, style: str) -> None:
        self.study = study
        self.lists: Mapping[str, Any] = grammar(style)
        self.choice = Choice(study.seed, study.index, style)
        self.doubted = [fact.finding for fact in study.found if "doubtful" in self.lists and self._doubts(fact)]

    def indication(self) -> str:
        """Why the image was asked for: nothing in it depends on what the image shows."""
        text: str = self.choice.of(self.lists["indication"])
        return text.format(age=self.study.age, sex=self.study.sex, weeks=2 + self.choice.below(7))

    def comparison(self) -> str:
        """Which earlier image there is."""
        text: str = self.choice.of(self.lists["comparison"]["later" if self.study.days else "first"])
        return text.format(days=self.study.days)

    def technique(self) -> str:
        """Which view it is."""
        return str(self.choice.of(self.lists["technique"]))

    def findings(self) -> str:
        """All that is to be seen, region by region."""
        study, parts = self.study, [self._devices()]
        parts += [self._said("rotated")] if study.rotated else []
        for region, denials in zip(_REGIONS, _DENIALS, strict=True):
            parts += [self._finding(fact, "frames") for fact in study.found if fact.finding in region]
            parts += [self._gone(fact) for fact in study.gone if fact.finding in region]
            parts += [self._denied(name) for name in denials]
        parts.append(self._said("shift", side=self._word("side", study.shift)) if study.shift else "")
        if study.convex:
            parts.append(self._said("scoliosis", convex=self._word("convex", study.convex)))
        else:
            parts.append(self._said("bones"))
        return " ".join(part for part in parts if part)

    def impression(self) -> str:
        """What matters, the most severe first; the only section of the terse style, which has the rest here too."""
        study, only = self.study, "findings" not in self.lists["sections"]
        facts = sorted(study.found, key=lambda fact: -fact.severity)
        parts = [self._finding(fact, "short") for fact in facts]
        parts += [self._said_of(self.lists["meaning"][f.finding]) for f in facts if f.finding in self.lists["meaning"]]
        parts += [self._gone(fact) for fact in study.gone] if only else []
        if not facts:
            clean = not (study.devices or study.convex or study.shift or study.gone)
            parts.append(self._said("normal" if clean else "no_acute"))
        if only:
            parts += [self._denied(name) for names in _DENIALS for name in names] if facts else []
            parts.append(self._said("shift", side=self._word("side", study.shift)) if study.shift else "")
            parts.append(self._said("scoliosis", convex=self._word("convex", study.convex)) if study.convex else "")
            parts.append(self._devices())
        parts = [part for part in parts if part]
        if len(parts) > 1 and not only and self.choice.below(3) == 0:
            return "\n".join(f"{number}. {part}" for number, part in enumerate(parts, start=1))
        return " ".join(parts)

    def _finding(self, fact: Fact, form: str) -> str:
        phrase = self._phrase(fact)
        article = (
            f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" if fact.finding in self.lists["counted"] else phrase
        )
        frames = self.lists["doubtful"] if fact.finding in self.doubted else None
        frame: str = self.choice.of(frames or self.lists[form][fact.change or "first"])
        text = _sentence(frame.format(np=phrase, a_np=article, **self._number(fact)))
        moved = fact.size_before and abs(fact.size_mm - fact.size_before) > 2 and fact.change != UNCHANGED
        if moved and form == "frames" and fact.finding == "Nodule":
            text += " " + _sentence(self.choice.of(self.lists["size_change"]).format(before=f"{fact.size_before} mm"))
        return text

    def _doubts(self, fact: Fact) -> bool:
        """Half of what is barely visible; what is compared, or given a meaning, is taken for certain."""
        certain = fact.severity >= _FAINT or fact.change or fact.finding in self.lists["meaning"]
        return not certain and self.choice.below(2) == 0

    def _phrase(self, fact: Fact) -> str:
        phrase: str = self.choice.of(self.lists["phrases"][fact.finding])
        size = f"{fact.size_mm} mm" if self.choice.below(3) else f"{fact.size_mm / 10:g} cm"
        reach = self._word("reach", fact.reach) if self.choice.below(2) else ""
        return phrase.format(
            g=self.choice.of(self.lists["grades"][fact.finding][fact.grade]),
            side=self._word("side", fact.side),
            zone=self._word("zone", fact.zone),
            zones=self._zones(fact),
            reach=reach,
            size=size,
            ratio=f"{fact.ratio:.2f}",
            cavity=self.choice.of(self.lists["cavity"]) if fact.cavity else "",
        )

    def _gone(self, fact: Fact) -> str:
        noun = self.lists["nouns"][fact.finding].format(side=self._word("side", fact.side))
        text: str = self.choice.of(self.lists["gone"])
        return _sentence(text.format(noun=noun, **self._number(fact)))

    def _number(self, fact: Fact) -> dict[str, str]:
        many = fact.finding in self.lists["plural"]
        return {"is": "are" if many else "is", "has": "have" if many else "has"}

    def _denied(self, group: str) -> str:
        for names, texts in self.lists["deny"].get(group, {}).items():
            if not self.study.has(*names.split("+")):
                return str(self.choice.of(texts))
        return ""

    def _devices(self) -> str:
        parts = []
        for device in self.study.devices:
            text: str = self.choice.of(self.lists["devices"][device.kind][device.tip])
            tip = f"{device.tip_mm} mm" if self.choice.below(2) else f"{device.tip_mm / 10:g} cm"
            parts.append(_sentence(text.format(side=self._word("side", device.side), tip=tip)))
            if device.change == "new" and device.kind != "electrodes":
                parts.append(self._said("new_device", device=self.lists["device_names"][device.kind]))
        for kind in self.study.removed:
            parts.append(self._said("removed", device=self.lists["device_names"][kind]))
        return " ".join(part for part in parts if part)

    def _word(self, kind: str, key: str) -> str:
        words = self.lists["words"][kind].get(key)
        return str(self.choice.of(words)) if words else ""

    def _zones(self, fact: Fact) -> str:
        words = self.lists["words"].get("zones", {}).get(fact.side, {}).get(fact.zone)
        return str(self.choice.of(words)) if words else ""

    def _said(self, name: str, **slots: str) -> str:
        return self._said_of(self.lists[name], **slots)

    def _said_of(self, options: list[str], **slots: str) -> str:
        return _sentence(self.choice.of(options).format(**slots))


def _sentence(text: str) -> str:
    """Begin with a capital, end with one full stop."""
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")
