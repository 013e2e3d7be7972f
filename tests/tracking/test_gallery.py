"""Does the retrieval page say what it was given, escape everything, and tell loggers no report?"""

import numpy as np
import pytest

from cxrvl.data.labeler import Labeler
from cxrvl.evaluation.dual.encoder import Passage
from cxrvl.runs import gallery
from cxrvl.tracking.gallery import Hit, Query, write_gallery

PIXELS = np.full((8, 8), 100, dtype=np.uint8)
WICKED = "<script>alert('x')</script>"


def query(**changes):
    own = Hit("made/s1", 0.7, f"Effusion {WICKED}", True, True, ("Pleural Effusion",), (), ())
    other = Hit("made/s2", 0.9, "Heart enlarged.", False, False, (), ("Pleural Effusion",), ("Cardiomegaly",))
    given = {"pixels": PIXELS, "name": f"key/{WICKED}", "report": own.report, "findings": ("Pleural Effusion",), "rank": 2.0,
             "near": 0.7, "hits": (other, own), "maps": ((f"effusion{WICKED}", PIXELS),)}  # fmt: skip
    return Query(**{**given, **changes})


def test_everything_is_escaped_and_the_own_report_marked(tmp_path):
    page = write_gallery(tmp_path, "retrieval-1", f"Title {WICKED}", f"About {WICKED}", [query()]).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6
    assert page.count('<li class="own">') == 1
    first, second = page.split("<li")[1:3]
    assert "0.900" in first
    assert 'missed">Pleural Effusion' in first
    assert 'added">Cardiomegaly' in first
    assert 'shared">Pleural Effusion' in second
    assert "own report at rank 2" in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page


def test_a_caption_tells_findings_and_no_report():
    caption = query().caption
    assert caption == "own report at rank 2; nearest misses Pleural Effusion; adds Cardiomegaly"
    assert "key" not in caption
    quiet = Hit("made/s2", 0.9, "Clear.", False, True, (), (), ())
    assert query(hits=(quiet,)).caption == "own report at rank 2; nearest claims nothing, as its own"


def test_words_that_name_a_finding_are_read_in_their_sentence():
    body = (
        f"The lungs are clear. There is a large pleural effusion. {'Nothing else is to be said. ' * 40}No pneumothorax."
    )
    text = f"Read the report. {body}"
    found = gallery.mentioned(Passage(text, len("Read the report. "), len(text)), Labeler("chexpert"))
    bodies = [word.body for word in found]
    assert any("effusion" in words for words in bodies)
    assert any("pneumothorax" in words for words in bodies)
    for word in found:
        assert word.text.startswith("Read the report. ")
        assert len(word.text) < 80
        assert word.body in text


def test_a_very_long_sentence_is_read_around_the_word():
    text = f"{'opacity and ' * 100}effusion {'and more ' * 100}"
    found = gallery.mentioned(Passage(text, 0, len(text)), Labeler("chexpert"))
    assert all(len(word.text) <= 2 * gallery.AROUND + 20 for word in found)
    assert "effusion" in [word.body for word in found]


class Logger:
    def __init__(self, share_data):
        self.share_data, self.got = share_data, []

    def log_pictures(self, key, pictures, captions, step):
        self.got.append((key, len(pictures), captions, step))


@pytest.mark.parametrize(("shareable", "share", "sent"), [(True, True, 1), (False, True, 0), (True, False, 0)])
def test_loggers_get_pictures_of_shareable_sources_alone(monkeypatch, tmp_path, shareable, share, sent):
    monkeypatch.setattr(gallery, "read_predictions", lambda path: None)
    monkeypatch.setattr(gallery, "queries_of", lambda *given: [query()])
    monkeypatch.setattr(gallery, "ImageReportDataModule", object)
    evaluator = {
        "_target_": gallery.TARGET,
        "tasks": {"r": {"query": "report"}, "i": {"query": "image"}},
        "score_split": "test",
    }
    evaluation = gallery.Evaluation("retrieval", "1", tmp_path / "retrieval-1.parquet", evaluator)
    source = {"_target_": "cxrvl.data.sources.phantom.PhantomSource", "shareable": shareable}
    config = {"name": "n", "seed": 0, "tracking": {"pictures_every": "doubling"}, "data": {"source": source}}
    logger = Logger(share)
    path = gallery.write_galleries(tmp_path, config, [evaluation], None, object(), [logger], 7)
    assert path.is_file()
    assert len(logger.got) == sent
    if sent:
        assert logger.got == [("test/retrieval", 1, [query().caption], 7)]
    off = {**config, "tracking": {"pictures_every": None}}
    assert gallery.write_galleries(tmp_path, off, [evaluation], None, object(), [], 7) is None


@pytest.mark.parametrize(
    "evaluator",
    [
        {"_target_": "cxrvl.evaluation.dual.ZeroShotEvaluator"},
        {"_target_": gallery.TARGET, "tasks": {"r": {"query": "report"}}},
        {"_target_": gallery.TARGET, "tasks": {"s": {"query": "image", "styles": {"abbreviate": 1.0}}}},
    ],
)
def test_nothing_is_shown_where_no_image_asks_for_reports_as_written(monkeypatch, tmp_path, evaluator):
    monkeypatch.setattr(gallery, "ImageReportDataModule", object)
    config = {"tracking": {"pictures_every": 1}}
    evaluation = gallery.Evaluation("one", "1", tmp_path / "one-1.parquet", evaluator)
    assert gallery.write_galleries(tmp_path, config, [evaluation], None, object(), [], 0) is None
