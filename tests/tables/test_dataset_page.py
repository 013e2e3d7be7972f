"""Nothing a report or a table says becomes markup or a terminal command, and every mention keeps its place."""

import re
from html import unescape
from html.parser import HTMLParser

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cxrvl.data.labeler import Labeler, Mention
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.studies import StudyTable
from cxrvl.data.summary import summarise
from cxrvl.tables.dataset.blocks import blocks, number, percent, plain, size
from cxrvl.tables.dataset.marks import judged, marked, sections
from cxrvl.tables.dataset.page import Sheet, Story, Tile, page
from cxrvl.tables.dataset.terminal import sparkline, terminal

TEXT = "No effusion. Possible pneumonia in the right base. There is a nodule."


def printed(summary, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal(summary))
    return capture.get()


def test_mentions_are_marked_where_they_stand():
    html = marked(TEXT, Labeler("findings").mentions(TEXT))
    kinds = {word: kind for kind, word in re.findall(r'<mark class="(\w+)"[^>]*>([^<]*)</mark>', html)}
    assert kinds["effusion"] == "absent"
    assert kinds["pneumonia"] == "uncertain"
    assert kinds["nodule"] == "present"
    assert unescape(re.sub(r"<[^>]+>", "", html)) == TEXT


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.sampled_from("ab<>&\"' \n"), max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(1, 9), st.sampled_from([1.0, 0.0, -1.0])), max_size=6),
)
def test_any_overlap_of_mentions_keeps_the_text(text, spans):
    mentions = [Mention("<Mass>", value, start, min(start + length, len(text)), '<"cue">')
                for start, length, value in spans if start < len(text)]  # fmt: skip
    html = marked(text, mentions)
    assert unescape(re.sub(r"</?mark[^>]*>", "", html)) == text
    assert set(re.findall(r"<(\w+)", html)) <= {"mark"}
    covered = {i for m in mentions for i in range(m.start, m.end)}
    inside = "".join(unescape(part) for part in re.findall(r"<mark[^>]*>(.*?)</mark>", html, re.DOTALL))
    assert inside == "".join(text[i] for i in sorted(covered))


def test_the_strongest_mention_decides_and_the_indication_is_not_judged():
    shown, said = judged(
        {"indication": "Pneumonia?", "findings": TEXT, "impression": "Small effusion."}, Labeler("findings")
    )
    assert "<mark" not in shown["indication"]
    assert "Effusion" in said["present"]
    assert said["uncertain"] == ["Pneumonia"]


def test_an_undivided_report_is_shown_by_section():
    assert sections({"report": "FINDINGS: Clear lungs.\nIMPRESSION: Normal."}) == {
        "findings": "Clear lungs.", "impression": "Normal."}  # fmt: skip
    assert sections({"report": "Clear lungs.", "notes": " "}) == {"report": "Clear lungs."}


def test_a_report_is_not_shown_twice():
    whole = "FINDINGS: Clear lungs and a normal heart.\n\nIMPRESSION:  Normal."
    parts = {"findings": "Clear lungs and a normal heart.", "impression": "Normal."}
    assert sections({**parts, "report": whole}) == parts
    assert "report" in sections({**parts, "report": whole.replace("Clear", "Hazy")})
    assert "report" in sections({"impression": "Normal.", "report": whole})


def test_plain_text_obeys_no_control_character():
    assert plain("a\x1b[31mb\u202ec\n", keep="\n") == "a\ufffd[31mb\ufffdc\n"
    assert plain("naïve 3 cm × 2 cm") == "naïve 3 cm × 2 cm"


def hostile() -> StudyTable:
    bad = "<script>alert(1)</script>\x1b[2J"
    frame = pd.DataFrame({"image": ["a.png", "b.png"], "dataset": bad, "patient": ["1", "2"], "split": "train"})
    frame = frame.assign(view=bad, sex=bad, **{bad: 1.0})
    return StudyTable.build(frame, [bad], split_name=bad, root=None, origin="t", notes=(bad,))


class Nesting(HTMLParser):
    """Fails where a tag is closed that is not the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(tag)


def test_every_tag_is_closed_in_order():
    summary = summarise(PhantomSource(40).table(), ["phantom"])
    tiles = [Tile("data:image/jpeg;base64,AA==", "c", "k"), Tile("", "c", "k", "broken")]
    story = Story("h", tiles, {"report": marked(TEXT, Labeler("findings").mentions(TEXT))}, {}, {"absent": ["Mass"]})
    text = page([summary, summary], [summary], blocks(summary), [Sheet("s", tiles, "about")], [story], True)
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert text.count("<rect ") >= summary.decades.size


def test_hostile_names_stay_text():
    summary = summarise(hostile())
    bad = hostile().labels[0]
    story = Story(bad, [Tile("", bad, bad, bad)], {"report": marked(bad, [])}, {"present": [bad]}, {"absent": [bad]})
    text = page([summary], [summary], [], [Sheet(bad, [Tile("data:image/png;base64,AA==", bad, bad)])], [story], True)
    assert "<script" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") > 10
    assert "\x1b" not in printed(summary, 120)


def test_the_page_loads_nothing_and_has_two_lights():
    summary = summarise(PhantomSource(40).table(), ["phantom"])
    text = page([summary], [], [], [Sheet("s", [Tile("data:image/jpeg;base64,AA==", "c", "k")])], [], False)
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "Synthetic" in text
    assert "stays on this machine" not in text
    assert "stays on this machine" in page([summary], [], [], [], [], True)


def test_a_mixture_says_which_part_is_synthetic():
    mixture = Mixture([PhantomSource(10, size=32), PhantomSource(10, size=32)], names=["drawn", "other"])
    summary = summarise(mixture.table(), ["drawn"])
    said = "drawn: Synthetic images: a mechanism test"
    assert said in printed(summary, 120)
    assert said in page([summary], [], [], [], [], True)


def test_real_data_are_not_called_synthetic():
    summary = summarise(PhantomSource(40).table())
    assert 'class="synthetic"' not in page([summary], [], [], [], [], True)
    assert "Synthetic images: a mechanism test" not in printed(summary, 80)


def test_the_terminal_fits_its_width():
    summary = summarise(PhantomSource(200).table(), ["phantom"])
    for width in (80, 120):
        text = printed(summary, width)
        assert max(map(len, text.splitlines())) <= width
        # Folded cells would tear words and numbers apart.
        for block in blocks(summary):
            for row in block.rows:
                assert all(cell in text for cell in row)


def test_numbers_read_well():
    assert [percent(v) for v in (0, 0.004, 0.5, float("nan"))] == ["0.0%", "0.40%", "50.0%", "–"]
    assert [number(v) for v in (3.0, 0.12345, 12345.6, float("nan"))] == ["3", "0.123", "12,346", "–"]
    assert [size(v) for v in (12, 2048, 3 << 20)] == ["12 B", "2 KiB", "3 MiB"]
    assert sparkline([0, 1, 1000]) == " ▁█"
