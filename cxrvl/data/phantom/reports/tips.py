"""Which devices does an image show, on which side, and where do they end?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cxrvl.data.phantom.anatomy import Anatomy
from cxrvl.data.phantom.cohort import SIDE_NAMES
from cxrvl.data.phantom.devices import Devices
from cxrvl.data.phantom.geometry import FIELD_MM

# Height of the carina in a chest that is not lifted, see `mediastinum.add_spine`.
_CARINA = 0.345
# Tips of a central line below the carina, in mm: above the first the superior vena cava, then the cavoatrial junction,
# beyond the second the right atrium.
_CAVA, _JUNCTION = 25, 45


@dataclass(frozen=True, slots=True)
class Device:
    """One device: `kind` pacemaker, line, tube or electrodes; `side` right, left or "".

    `tip` of a line: cava, junction or atrium; of a tube: high (over 60 mm above the carina), good, low (under 20) or
    carina (at or below it), `tip_mm` its distance above the carina. `change`: new or unchanged, "" at a first visit.
    """

    kind: str
    side: str = ""
    tip: str = ""
    tip_mm: int = 0
    change: str = ""

    def since(self, before: Sequence["Device"]) -> "Device":
        """Compare with the devices of the visit before."""
        return replace(self, change="unchanged" if any(self.kind == was.kind for was in before) else "new")


def devices(drawn: Devices, anatomy: Anatomy) -> list[tuple[Device, ...]]:
    """Describe the devices of every image, in the order tube, line, pacemaker, electrodes."""
    result = []
    for row in range(len(drawn.line)):
        carina, place = _CARINA + float(anatomy.pose.lift[row]), float(drawn.place[row])
        there = []
        if drawn.tube[row]:
            # Where `devices.add_devices` ends the tube and the line.
            above = round((carina - (0.24 + 0.1 * place)) * FIELD_MM)
            tip = "carina" if above <= 3 else "low" if above < 20 else "high" if above > 60 else "good"
            there.append(Device("tube", tip=tip, tip_mm=max(above, 0)))
        if drawn.line[row]:
            below = (0.34 + 0.14 * place - carina) * FIELD_MM
            tip = "cava" if below < _CAVA else "junction" if below < _JUNCTION else "atrium"
            there.append(Device("line", side="right", tip=tip))
        if drawn.pacemaker[row]:
            there.append(Device("pacemaker", side=SIDE_NAMES[int(drawn.device_side[row])]))
        if drawn.electrodes[row]:
            there.append(Device("electrodes"))
        result.append(tuple(there))
    return result
