"""What does each image of the phantom look like? From numbers to pixels and masks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cxrvl.data.phantom import detector, devices, mediastinum, thorax
from cxrvl.data.phantom.anatomy import Anatomy, draw_anatomy
from cxrvl.data.phantom.cohort import FINDINGS, LEFT, RIGHT, Cohort
from cxrvl.data.phantom.devices import Devices
from cxrvl.data.phantom.diseases import LOOK, Group, affected, disease_column, draw_disease
from cxrvl.data.phantom.draws import BoolArray
from cxrvl.data.phantom.findings import Fluid, Lesions, Patch, Rim, draw_lesions
from cxrvl.data.phantom.grid import Image, grid
from cxrvl.data.phantom.scene import Scene
from cxrvl.data.phantom.torso import torso

# Raise by hand whenever a label, box or pixel of any seed changes.
GENERATOR_VERSION = 1


@dataclass(frozen=True)
class Phantom:
    """A cohort ready to be drawn."""

    cohort: Cohort

    @cached_property
    def anatomy(self) -> Anatomy:
        """The anatomy of every image."""
        return draw_anatomy(self.cohort)

    @cached_property
    def lesions(self) -> Lesions:
        """The shape of every finding."""
        return draw_lesions(self.cohort, self.anatomy)

    @cached_property
    def disease(self) -> tuple[Group, Group] | None:
        """The patches of the cohort's disease in the right and left lungs; None for a cohort without one."""
        return draw_disease(self.cohort, self.anatomy)

    @cached_property
    def _diseased(self) -> tuple[BoolArray, BoolArray]:
        return affected(self.cohort, RIGHT), affected(self.cohort, LEFT)

    @cached_property
    def devices(self) -> Devices:
        """The devices and markers."""
        return Devices.draw(self.cohort)

    def render(self, size: int) -> NDArray[np.float32]:
        """Draw all images: (N, size, size) float32 in [0, 1], bright where dense, as radiographs are shown."""
        images = np.empty((len(self.cohort), size, size), dtype=np.float32)
        for row in range(len(self.cohort)):
            images[row] = self._image(row, size)
        return images

    def masks(self, row: int, size: int) -> dict[str, BoolArray]:
        """Draw the exact region of each finding present in one image: label -> (size, size) bool."""
        points = grid(size)
        x, y = points.x.astype(np.float64), points.y.astype(np.float64)
        midline = self.anatomy.midline.at(row)
        found: dict[str, BoolArray] = {}
        for finding in self._present(row):
            if finding == "Cardiomegaly":
                heart = self.anatomy.heart.at(row)
                right, left = heart.edges(y)
                across = x - midline.x(y) - heart.shift
                found[finding] = (across > -right) & (across < left)
                continue
            side = int(self.cohort.side[row, FINDINGS.index(finding)])
            r = (x - midline.x(y)) * (1.0 if side == LEFT else -1.0)
            shape = self.lesions.of(finding).at(row)
            found[finding] = np.asarray(shape.contains(self.anatomy.lungs[side].at(row), r, y))
        column = disease_column(self.cohort)
        if column is not None and self.disease is not None and self.cohort.present[row, column]:
            whole = np.zeros((size, size), dtype=bool)
            for side in (RIGHT, LEFT):
                if self._diseased[side][row]:
                    r = (x - midline.x(y)) * (1.0 if side == LEFT else -1.0)
                    whole |= self.disease[side].at(row).contains(self.anatomy.lungs[side].at(row), r, y)
            found[self.cohort.findings[column]] = whole
        return found

    def _present(self, row: int) -> list[str]:
        return [finding for column, finding in enumerate(FINDINGS) if self.cohort.present[row, column]]

    def _image(self, row: int, size: int) -> Image:
        scene = Scene.of(self.anatomy, row, size)
        depth = torso(scene)
        heart = mediastinum.heart_depth(scene)
        for side in (RIGHT, LEFT):
            self._add_side(depth, scene, row, thorax.lung_field(scene, side, heart))
        heart *= 0.17
        depth += heart
        mediastinum.add_vessels(depth, scene)
        mediastinum.add_spine(depth, scene)
        mediastinum.add_clavicles(depth, scene)
        mediastinum.add_scapulae(depth, scene)
        mediastinum.add_gas(depth, scene)
        devices.add_devices(depth, scene, self.devices, row)
        noise = detector.quantum_noise(self.cohort.seed, int(self.cohort.index[row]), size)
        image = detector.develop(depth, detector.EQUIPMENT[int(self.cohort.hospital[row])], scene.pose, noise)
        devices.add_frame(image, scene.points, self.devices, row)
        devices.add_marker(image, scene.points, self.devices, row)
        return image

    def _add_side(self, depth: Image, scene: Scene, row: int, field: thorax.Field) -> None:
        """Add one lung with its ribs and the findings on its side."""
        found = {
            finding: self.lesions.of(finding).at(row)
            for finding in self._present(row)
            if self.cohort.side[row, FINDINGS.index(finding)] == field.side
        }
        fluid, rim = found.get("Effusion"), found.get("Pneumothorax")
        tissue = thorax.add_lung(
            depth, scene, field, fluid if isinstance(fluid, Fluid) else None, rim if isinstance(rim, Rim) else None
        )
        thorax.add_ribs(depth, scene, field)
        for finding, fuzz in (("Consolidation", 0.8), ("Atelectasis", 0.3), ("Nodule", 0.0)):
            patch = found.get(finding)
            if isinstance(patch, Patch):
                thorax.add_patch(depth, scene, field, tissue, patch, fuzz)
        if self.disease is not None and self._diseased[field.side][row]:
            fuzz, soft = LOOK[self.cohort.findings[-1]]
            thorax.add_haze(depth, scene, field, tissue, self.disease[field.side].at(row).patches, fuzz, soft)
        if scene.body.nipple > 0:
            y = scene.body.breast_y + 0.02
            nipple = Patch(r=0.2, y=y, across=0.013, down=0.013, slope=0.0, density=scene.body.nipple)
            thorax.add_patch(depth, scene, field, field.air, nipple)
