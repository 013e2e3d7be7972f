"""Are examples chosen by boxes where there are any, and by labels in turn elsewhere, no image twice?"""

import numpy as np
import pandas as pd

from cxrvl.data.attention_examples import first_examples
from cxrvl.data.studies import StudyTable


def table(boxes, **labels):
    count = len(boxes)
    frame = pd.DataFrame(
        {"image": [f"{i}.png" for i in range(count)], "dataset": "made", "patient": [str(i) for i in range(count)],
         "split": "test", "boxes": boxes, **labels}
    )  # fmt: skip
    return StudyTable.build(frame, tuple(labels), split_name="made", root=None, origin="made up", check_files=False)


def chosen(made, count, rows=None):
    rows = np.arange(len(made)) if rows is None else np.asarray(rows)
    return [(one.row, one.title) for one in first_examples(made, rows, count)]


def test_boxes_come_first_one_of_each_label():
    box = (0.1, 0.1, 0.2, 0.2)
    made = table([[], [("Mass", *box), ("Effusion", *box)], [("Mass", *box)], []],
                 Effusion=[0.0, 1, 0, 1], Mass=[0.0, 1, 1, 0])  # fmt: skip
    assert chosen(made, 5) == [(1, "Effusion"), (1, "Mass")]
    assert chosen(made, 1) == [(1, "Effusion")]
    assert chosen(made, 5, [0, 2]) == [(2, "Mass")]
    assert chosen(made, 3, [0, 3]) == [(3, "Effusion"), (0, "no Effusion")]


def test_without_boxes_labels_take_turns_and_no_image_is_shown_twice():
    made = table([[]] * 6, Effusion=[1.0, 1, 0, 0, np.nan, -1], Mass=[1.0, 0, 0, 1, np.nan, -1])
    assert chosen(made, 3) == [(0, "Effusion"), (3, "Mass"), (2, "no Effusion")]
    assert chosen(made, 9) == [(0, "Effusion"), (3, "Mass"), (2, "no Effusion"), (1, "no Mass")]
    assert chosen(made, 9, [4, 5]) == []
