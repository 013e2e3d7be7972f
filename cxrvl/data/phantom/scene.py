"""What does one image need to be drawn? Its points, textures and one patient's anatomy, in plain numbers."""

from dataclasses import dataclass

from cxrvl.data.phantom.anatomy import Anatomy, Body, Pose
from cxrvl.data.phantom.cohort import LEFT, RIGHT
from cxrvl.data.phantom.geometry import Heart, Lung, Midline
from cxrvl.data.phantom.grid import Grid, grid
from cxrvl.data.phantom.texture import Textures, textures


@dataclass(frozen=True)
class Scene:
    """One image's anatomy; `lungs` in the order RIGHT, LEFT."""

    points: Grid
    texture: Textures
    midline: Midline
    lungs: tuple[Lung, Lung]
    heart: Heart
    body: Body
    pose: Pose

    @classmethod
    def of(cls, anatomy: Anatomy, row: int, size: int) -> "Scene":
        """Take one image out of a cohort's anatomy, to be drawn at size x size."""
        return cls(
            points=grid(size),
            texture=textures(size),
            midline=anatomy.midline.at(row),
            lungs=(anatomy.lungs[RIGHT].at(row), anatomy.lungs[LEFT].at(row)),
            heart=anatomy.heart.at(row),
            body=anatomy.body.at(row),
            pose=anatomy.pose.at(row),
        )
