"""Do the released DISTL code and this project give the same numbers, forward and backward, for the same weights?"""

import pytest
import torch
from parity_cases import Case, cases

from cxrvl.losses.dino import DinoLoss


@pytest.mark.parametrize("description", cases("distl_dino_loss"))
def test_dino_loss(description):
    case = Case(description)
    config = case.config
    loss = DinoLoss(config["K"], config["student_temp"], config["teacher_temp"], config["center_momentum"])
    losses, centres, gradients = [], [], []
    for student, teacher in zip(case.tensors["in/student"], case.tensors["in/teacher"], strict=True):
        student.requires_grad_()
        losses.append(loss(student, teacher, range(config["global_views"])))
        losses[-1].backward()
        gradients.append(student.grad)
        loss.update_centre(teacher)
        centres.append(loss.centre[0].clone())
    case.expect("out/loss", torch.stack(losses))
    case.expect("grad/student", torch.stack(gradients))
    case.expect("out/center", torch.stack(centres))
    print(case.compared)
