"""How long does a study table of ChestX-ray14's size take, with all checks and its fingerprint?"""

import time

import numpy as np
import pandas as pd

from cxrvl.data.studies import StudyTable

IMAGES = 112_120
SECONDS = 3.0


def test_a_table_of_chestxray14_size():
    number = np.arange(IMAGES)
    frame = pd.DataFrame(
        {
            "image": [f"images/{i:08d}.png" for i in number],
            "dataset": "big",
            "patient": (number // 4).astype(str),
            "split": np.where(number // 4 % 5 == 0, "test", "train"),
            "Mass": 0.0,
            "Edema": 1.0,
        }
    )
    start = time.perf_counter()
    StudyTable.build(frame, ["Mass", "Edema"], split_name="made", root=None, origin="bench").fingerprint()
    taken = time.perf_counter() - start
    print(f"\nstudy table of {IMAGES:,} images: {taken:.2f} s (at most {SECONDS})")
    assert taken <= SECONDS
