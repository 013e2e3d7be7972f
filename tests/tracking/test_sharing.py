"""Nothing of a source that does not say `shareable: true` leaves through a logger, whatever the logger was told."""

import logging

import numpy as np
import pytest
from picture_runs import SECRET, Recorder, config_of, overrides_of, trained

from cxrvl.tracking.sharing import receivers, shareable

PHANTOM = {"_target_": "cxrvl.data.sources.phantom.PhantomSource", "shareable": True}
CLOSED = {"_target_": "cxrvl.data.sources.nih14.NIH14", "shareable": False}
SILENT = {"_target_": "cxrvl.data.sources.nih14.NIH14"}
MIXED = {"_target_": "mine.Mixed"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"source": PHANTOM}, True),
        ({"source": CLOSED}, False),
        ({"source": SILENT}, False),
        ({"source": PHANTOM | {"shareable": "true"}}, False),
        ({"source": PHANTOM | {"shareable": 1}}, False),
        ({}, False),
        ({"source": None}, False),
        ({"source": MIXED | {"sources": [PHANTOM, PHANTOM]}}, True),
        ({"source": MIXED | {"sources": [PHANTOM, CLOSED]}}, False),
        ({"source": MIXED | {"sources": {"a": PHANTOM, "b": SILENT}}}, False),
        ({"source": MIXED | {"sources": [PHANTOM], "shareable": False}}, False),
        ({"source": MIXED | {"parts": [PHANTOM, SILENT]}}, False),
        ({"source": PHANTOM, "unlabelled": [SILENT]}, False),
        ({"source": PHANTOM, "unlabelled": {"source": {"_target_": "mine.Hospital"}}}, False),
        ({"source": PHANTOM, "store": {"_target_": "cxrvl.data.store_pixels.StoreSpec"}}, True),
    ],
)
def test_shareable_only_where_every_source_says_so(data, expected):
    assert shareable(data) is expected


def test_both_the_source_and_the_user_must_agree(caplog):
    willing, unwilling = Recorder(True), Recorder(False)
    assert receivers([willing, unwilling, object()], {"source": PHANTOM}) == [willing]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert receivers([willing, unwilling], {"source": CLOSED}) == []
    assert "shareable" in caplog.text
    assert receivers([Recorder("yes")], {"source": PHANTOM}) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trains on a kind of data set, watched by a logger that may share data and by one that may not."""

    def train(kind, *overrides):
        folder, loggers = tmp_path_factory.mktemp(kind), (Recorder(True), Recorder(False))
        trained(config_of(folder, *overrides_of(kind, folder), *overrides), folder / "run", *loggers)
        return (folder / "run/pages/index.html").read_text(), *loggers

    return train


@pytest.mark.parametrize("kind", ["nih14", "manifest"])
def test_nothing_of_a_source_that_is_not_shareable_reaches_a_logger(run, kind):
    page, *loggers = run(kind, "trainer.max_epochs=1")
    for recorder in loggers:
        assert recorder.sent, "the recorder was never asked, so this test would prove nothing"
        assert not recorder.pictures()
        assert SECRET not in repr(recorder.sent)
        assert not any(isinstance(value, np.ndarray) for entry in recorder.sent for value in _leaves(entry))
    assert SECRET in page, "local pages do name the image"


def test_phantom_pictures_are_shared_if_the_user_wants(run):
    _, willing, unwilling = run("phantom")
    assert not unwilling.pictures()
    assert len(willing.pictures()) == 2 * 3  # two validations, three kinds
    for _, key, pictures, captions, step in willing.pictures():
        assert key in ("val/worst_errors", "val/attention", "train/inputs")
        assert len(pictures) == len(captions) >= 1
        assert all(p.dtype == np.uint8 and (p.ndim == 2 or p.shape[2] == 3) for p in pictures)
        assert all("phantom/" in caption for caption in captions)
        assert step >= 0


def test_a_user_may_declare_a_source_shareable_but_reports_stay_on_local_pages(run):
    page, willing, unwilling = run("manifest", "data.source.shareable=true", "trainer.max_epochs=1")
    assert SECRET in repr(willing.pictures())
    assert SECRET not in repr(unwilling.sent)
    assert "worries" not in repr(willing.sent)
    assert f"&lt;b&gt;{SECRET}&lt;/b&gt; has an effusion &amp; worries." in page


def _leaves(node):
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from _leaves(part)
    else:
        yield node
