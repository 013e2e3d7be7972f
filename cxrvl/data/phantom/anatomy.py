"""What does this patient's chest look like in this image? All numbers of its anatomy."""

from dataclasses import dataclass

import numpy as np

from cxrvl.data.phantom.cohort import FINDINGS, LEFT, RIGHT, Cohort
from cxrvl.data.phantom.draws import Draws, FloatArray
from cxrvl.data.phantom.geometry import Heart, Lung, Midline, Number, Shape

# A heart wider than half the thorax is called enlarged (cardiothoracic ratio, Danzer 1919).
CARDIOTHORACIC_LIMIT = 0.5


@dataclass(frozen=True)
class Body(Shape):
    """Soft tissue and bones of a patient, in attenuation (1 = a mean torso) or image widths.

    `wall` chest wall beside the ribs; `tissue` torso thickness, `tissue_grain` choice of its mottle; `air` what a lung
    takes away; `shoulder`, `arms`, `axilla` height of the shoulders, half width of the arms, height of the armpits;
    `breast`, `breast_y`, `breast_r` density, height and size, `breast_even` left breast over right; `rib_*`,
    `clavicle_*`, `spine`, `mediastinum` bones and midline; `hilum`, `vessels` strength, `vessel_right`, `vessel_left`
    choice of the vessel trees; `knob` aortic knob; `nipple` density; `gas`, `gas_x`, `gas_r` stomach bubble; `texture`
    lung markings; `fold` skin folds; `zone` lung density from top to base; `blunt` height of old scars in the
    costophrenic angles. Nipples, folds, zones and scars are harmless and lie on both sides alike: they look like a
    nodule, a pleural line, pleural air or fluid until the other lung is seen. Choices are numbers in [0, 1).
    """

    wall: Number
    tissue: Number
    air: Number
    shoulder: Number
    arms: Number
    axilla: Number
    tissue_grain: Number
    breast: Number
    breast_y: Number
    breast_r: Number
    breast_even: Number
    rib_spacing: Number
    rib_phase: Number
    rib_density: Number
    rib_slope: Number
    clavicle_density: Number
    clavicle_y: Number
    clavicle_rise: Number
    spine: Number
    mediastinum: Number
    hilum: Number
    vessels: Number
    vessel_right: Number
    vessel_left: Number
    knob: Number
    nipple: Number
    gas: Number
    gas_x: Number
    gas_r: Number
    texture: Number
    fold: Number
    zone: Number
    blunt: Number


@dataclass(frozen=True)
class Pose(Shape):
    """How this image was taken.

    `rotation` of the patient about the long axis in [-1, 1]; `slope` of the shoulders; `lift` of the chest in the
    image; `cut_x`, `cut_y` density gradients across the image; `level`, `contrast` exposure.
    """

    rotation: Number
    slope: Number
    lift: Number
    cut_x: Number
    cut_y: Number
    level: Number
    contrast: Number


@dataclass(frozen=True)
class Anatomy:
    """The anatomy of N images; every number a float64 array (N,)."""

    midline: Midline
    lungs: tuple[Lung, Lung]
    heart: Heart
    body: Body
    pose: Pose

    @property
    def cardiothoracic_ratio(self) -> FloatArray:
        """Widest heart over widest thorax, (N,)."""
        thorax = self.lungs[RIGHT].width + self.lungs[LEFT].width
        return np.asarray((self.heart.right + self.heart.left) / thorax)

    def lung(self, side: np.ndarray, chosen: np.ndarray) -> Lung:
        """Take the lung on the given side (n,) of the chosen images (n,), as blocks (n, 1, 1)."""
        right, left = (vars(lung) for lung in self.lungs)
        return Lung(
            **{key: np.where(side == LEFT, left[key][chosen], right[key][chosen])[:, None, None] for key in right}
        )


def draw_anatomy(cohort: Cohort) -> Anatomy:
    """Draw the anatomy of a cohort's images, findings' effects on shape included (heart size, volume loss, shift).

    A patient keeps habitus, lung shape, bones and vessels from visit to visit; pose, breath and exposure change.
    """
    people, images = Draws(cohort.seed, cohort.patient), Draws(cohort.seed, cohort.index)
    grade = {finding: cohort.severity[:, column] for column, finding in enumerate(FINDINGS)}
    side = {finding: cohort.side[:, column] for column, finding in enumerate(FINDINGS)}
    pose = Pose(
        rotation=images.bell("rotation", 0.0, 1.0),
        slope=images.bell("slope", 0.0, 0.03),
        lift=images.bell("lift", 0.0, 0.035),
        cut_x=images.bell("cut_x", 0.0, 0.16),
        cut_y=images.bell("cut_y", 0.0, 0.1),
        level=images.bell("level", 0.0, 0.12),
        contrast=images.bell("contrast", 1.0, 0.25),
    )
    body, stout = _body(people, images, cohort, pose)
    scale = images.bell("scale", 1.0, 0.07)
    breath = images.bell("breath", 0.0, 0.05)
    shift = (
        _towards(side["Atelectasis"]) * 0.045 * grade["Atelectasis"]
        - _towards(side["Effusion"]) * 0.05 * np.maximum(grade["Effusion"] - 0.5, 0.0)
        - _towards(side["Pneumothorax"]) * 0.06 * np.maximum(grade["Pneumothorax"] - 0.5, 0.0)
    )
    midline = Midline(
        mid=0.5 + images.bell("mid", 0.0, 0.04),
        tilt=images.bell("tilt", 0.0, 0.06),
        bend=np.where(people.chance("scoliosis", 0.2), people.bell("bend", 0.0, 0.35), people.bell("bend", 0.0, 0.06)),
    )
    width = people.bell("width", 0.345, 0.035) * scale
    apex_y, base_y = people.bell("apex_y", 0.12, 0.035), people.bell("base_y", 0.815, 0.045) + breath + pose.lift
    apex_y = apex_y + pose.lift
    dome_height = people.bell("dome_height", 0.115, 0.035) - 0.02 * stout
    lungs = []
    for of, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        loss = np.where(side["Atelectasis"] == of, grade["Atelectasis"], 0.0)
        name = f"lung{of}"
        low = base_y + 0.35 * pose.slope * sign + people.bell(f"{name}/base", 0.0, 0.02) - 0.035 * loss
        lungs.append(
            Lung(
                apex_x=people.bell("apex_x", 0.155, 0.02) * scale,
                apex_y=apex_y + 0.35 * pose.slope * sign + people.bell(f"{name}/apex", 0.0, 0.012),
                width=width * (1.0 - 0.04 * sign * pose.rotation) * people.bell(f"{name}/width", 1.0, 0.02),
                base_y=low,
                dome_x=people.bell(f"{name}/dome_x", 0.16, 0.03) * scale,
                dome_y=low - dome_height + (0.02 if of == LEFT else 0.0) - 0.05 * loss,
                medial=people.bell(f"{name}/medial", 0.052, 0.012) + sign * (0.012 * pose.rotation + shift),
            )
        )
    return Anatomy(midline, (lungs[RIGHT], lungs[LEFT]), _heart(people, pose, lungs, shift, grade), body, pose)


def _towards(side: np.ndarray) -> FloatArray:
    return np.where(side == LEFT, 1.0, -1.0)


def _heart(people: Draws, pose: Pose, lungs: list[Lung], shift: FloatArray, grade: dict[str, FloatArray]) -> Heart:
    enlarged = CARDIOTHORACIC_LIMIT + 0.005 + 0.16 * grade["Cardiomegaly"]
    ratio = np.where(grade["Cardiomegaly"] > 0, enlarged, people.bell("ratio", 0.44, 0.058))
    total = ratio * (lungs[RIGHT].width + lungs[LEFT].width)
    left = people.bell("heart_left", 0.68, 0.05) * total
    floor = 0.5 * (lungs[RIGHT].dome_y + lungs[LEFT].dome_y)
    height = people.bell("heart_height", 0.33, 0.03) + 0.5 * (ratio - 0.435)
    bottom = floor + 0.065
    return Heart(
        shift=shift + 0.015 * pose.rotation,
        right=total - left,
        left=left,
        top=bottom - height,
        bottom=bottom,
        apex=people.bell("heart_apex", 0.76, 0.06),
    )


def _body(people: Draws, images: Draws, cohort: Cohort, pose: Pose) -> tuple[Body, FloatArray]:
    stout = people.uniform("stout")
    woman = cohort.female
    breast = np.where(woman, people.between("breast", 0.02, 0.3), 0.05 * people.uniform("breast"))
    body = Body(
        wall=0.035 + 0.06 * stout + people.bell("wall", 0.0, 0.01),
        tissue=0.94 + 0.16 * stout + people.bell("tissue", 0.0, 0.05),
        air=people.bell("air", 0.62, 0.09),
        shoulder=people.bell("shoulder", 0.025, 0.03) + pose.lift,
        arms=people.bell("arms", 0.5, 0.06),
        axilla=images.bell("axilla", 0.47, 0.06) + pose.lift,
        tissue_grain=people.uniform("tissue_grain"),
        breast=breast,
        breast_y=people.bell("breast_y", 0.64, 0.07) + pose.lift,
        breast_r=people.bell("breast_r", 0.145, 0.03) + 0.02 * stout,
        breast_even=np.where(people.chance("breast_lost", 0.06), 0.15, people.bell("breast_even", 1.0, 0.25)),
        rib_spacing=people.bell("rib_spacing", 0.078, 0.009),
        rib_phase=people.uniform("rib_phase"),
        rib_density=people.bell("rib_density", 0.115, 0.045),
        rib_slope=people.bell("rib_slope", 0.11, 0.04) + images.bell("rib_slope", 0.0, 0.02),
        clavicle_density=people.bell("clavicle", 0.2, 0.06),
        clavicle_y=images.bell("clavicle_y", 0.215, 0.035) + pose.lift,
        clavicle_rise=images.bell("clavicle_rise", 0.07, 0.045),
        spine=people.bell("spine", 0.2, 0.08),
        mediastinum=people.bell("mediastinum", 0.03, 0.01),
        hilum=people.bell("hilum", 0.8, 0.45),
        vessels=people.bell("vessels", 0.9, 0.35),
        vessel_right=people.uniform("vessel_right"),
        vessel_left=people.uniform("vessel_left"),
        knob=people.bell("knob", 0.028, 0.01) + 0.0002 * (cohort.age - 55.0),
        nipple=np.where(people.chance("nipples", 0.15), people.between("nipple", 0.03, 0.12), 0.0),
        gas=np.where(images.chance("gas", 0.6), images.between("gas_depth", 0.1, 0.4), 0.0),
        gas_x=images.bell("gas_x", 0.16, 0.05),
        gas_r=images.bell("gas_r", 0.055, 0.025),
        texture=people.bell("texture", 0.06, 0.04),
        fold=np.where(people.chance("fold", 0.25), people.between("fold", 0.02, 0.07), 0.0),
        zone=people.bell("zone", 0.0, 0.4),
        blunt=np.where(people.chance("blunt", 0.15), people.between("blunt_height", 0.025, 0.075), 0.0),
    )
    return body, stout
