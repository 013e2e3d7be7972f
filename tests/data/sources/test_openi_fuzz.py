"""Does damaged input, whatever the damage, end in a checked table or in one DataError, and soon?"""

import contextlib
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openi_reports import STUDIES, write_archive, write_tables, xml

from cxrvl.data.sources.openi import OpenI
from cxrvl.data.sources.openi_files import report_of
from cxrvl.errors import DataError

MAP = {"gold": {"Cardiomegaly": "Cardiomegaly", "Hernia": None, "normal": "No Finding"}}
# What damages files in practice, and what an attacker would write.
SCRAPS = (
    b"<", b">", b"&", b"&#0;", b"&#xD800;", b"&#38;", b"]]>", b"<![CDATA[", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;",
    b"<!--", b"<?x?>", b"<b>", b"</AbstractText>", b"<AbstractText>", b"</eCitation>", b'"', b'""', b"'", b",", b",,,,",
    b"\n", b"\r", b"\r\n\r\n", b"\0", b"\x92", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"utf-16",
    b"utf-7", b"hex", b"idna", b"1e999", b"nan", b"-1", b"2", b"inf", b"../../etc/passwd", b"/dev/zero", b"CXR1", b"_IM-",
    b"xmlns:x='y' x:", b"=cmd|' /C calc'!A0", b"#NAME?", b"999999999999999999999", "é\u2028\u202e".encode(),
    b"Clear. " * 10_000,
)  # fmt: skip


@contextlib.contextmanager
def at_most(seconds):
    def hang(*_):
        raise AssertionError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged(draw, content: bytes, steps: int = 4):
    """Some bytes replaced, cut out, doubled or overwritten with scraps, or the rest of the file lost."""
    result = content
    for _ in range(draw(st.integers(1, steps))):
        start = draw(st.integers(0, len(result)))
        end = min(len(result), start + draw(st.sampled_from([0, 1, 1, 2, 7, 40, 400])))
        kind = draw(st.sampled_from(["scrap", "scrap", "bytes", "cut", "double", "end"]))
        middle = b""
        if kind == "scrap":
            middle = draw(st.sampled_from(SCRAPS))
        elif kind == "bytes":
            middle = draw(st.binary(max_size=8))
        elif kind == "double":
            middle = result[start:end] * 2
        result = result[:start] + middle + (b"" if kind == "end" else result[end:])
    return result


FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def check(read):
    """Either it is read, or the user is told in one line what to mend."""
    with at_most(10):
        try:
            return read()
        except DataError as error:
            message = str(error)
    assert message
    assert "\n" not in message
    return None


@settings(FUZZ, max_examples=200)
@given(damaged(xml(1).encode()))
def test_damaged_xml(raw):
    report = check(lambda: report_of(raw, "1.xml"))
    if report is not None:
        assert set(report.sections) <= {"findings", "impression", "indication", "comparison"}
        assert all(name.startswith(f"{report.study[3:]}_IM-") for name in report.images)


@settings(FUZZ, max_examples=60)
@given(st.data())
def test_damaged_archives(tmp_path, data):
    kind = data.draw(st.sampled_from(["gzip", "tar", "member"]))
    path = write_archive(tmp_path / "NLMCXR_reports.tgz", mode="w" if kind == "tar" else "w:gz")
    if kind != "member":
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    else:
        member = data.draw(damaged(xml(3).encode()))
        write_archive(path, {"1.xml": xml(1).encode(), data.draw(st.sampled_from(["3.xml", "a/../3.xml"])): member})
    table = check(lambda: OpenI(tmp_path, labels_from="none").reports())
    if table is not None and kind != "member":
        assert table.frame["study"].tolist() == STUDIES or kind == "tar"  # a plain archive may lose a whole member
    assert table is None or table.fingerprint()["rows"] == len(table)


@pytest.mark.parametrize("name", ["labels_14.csv", "indiana_projections.csv", "indiana_reports.csv"])
@settings(FUZZ, max_examples=70)
@given(data=st.data())
def test_damaged_tables(tmp_path, name, data):
    write_tables(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data.draw(damaged(content)))
    source = OpenI(tmp_path, reports="indiana_reports.csv", projections="indiana_projections.csv", label_map=MAP)
    table = check(source.reports)
    if table is not None:
        assert table.fingerprint()["rows"] == len(table)
        if name != "indiana_reports.csv":
            assert set(table.frame["study"]) == set(STUDIES) - {"CXR7"}


def test_the_damage_is_real(tmp_path):
    """The undamaged files are read, so the tests above do not pass for want of input."""
    write_archive(tmp_path / "NLMCXR_reports.tgz")
    write_tables(tmp_path)
    for reports in ("NLMCXR_reports.tgz", "indiana_reports.csv"):
        assert check(OpenI(tmp_path, reports=reports, label_map=MAP).reports) is not None
