"""Does docs/sources.md tell the truth? Every source has its line, and the one quoted as the example is the file itself."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cxrvl.config.targets import keywords_of
from cxrvl.data.sources import covid_chestxray, kermany, mhh_covid19, nlm_tuberculosis, siim
from cxrvl.data.sources.assembly import BY_PATIENT

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
QUOTED = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", TEXT, flags=re.M | re.S))
README = (ROOT / "README.md").read_text(encoding="utf-8")
DATA_SETS = README[README.index("\n## Data sets\n") : README.index("\n## Reports\n")]
LINES = re.findall(r"^\| `(\w+)` \|", DATA_SETS, flags=re.M)
SOURCES = {
    path.stem: OmegaConf.load(path).get("source", {}).get("_target_", "")
    for path in (ROOT / "conf/data").glob("*.yaml")
}
MAPS = {
    "covid_chestxray": covid_chestxray.LABEL_MAP,
    "kermany": kermany.LABEL_MAP,
    "mhh_covid19": mhh_covid19.LABEL_MAP,
    "montgomery": nlm_tuberculosis.LABEL_MAP,
    "shenzhen": nlm_tuberculosis.LABEL_MAP,
    "siim": siim.LABEL_MAP,
}


def test_every_source_has_one_line():
    modules = [target.split(".")[-2] for target in SOURCES.values() if target.startswith("cxrvl.data.sources.")]
    assert sorted(LINES) == sorted(set(modules) - {"mixture"})
    assert set(LINES) <= set(SOURCES)


@pytest.mark.parametrize("file", ["cxrvl/data/sources/mhh_covid19.py", "conf/data/mhh_covid19.yaml"])
def test_the_example_is_the_file(file):
    assert QUOTED[file] == (ROOT / file).read_text(encoding="utf-8")


def test_the_example_is_the_shortest_source_that_stands_alone():
    lengths = {}
    for name in LINES:
        text = (ROOT / f"cxrvl/data/sources/{name}.py").read_text(encoding="utf-8")
        if "(FileSource):" in text:
            lengths[name] = len(text.splitlines())
    assert min(lengths, key=lengths.__getitem__) == "mhh_covid19"
    assert len(lengths) > 5


def test_named_files_are_there():
    for path in re.findall(r"`((?:tests|conf|cxrvl)/[\w/.]+)`", TEXT):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", MAPS)
def test_the_yaml_shows_what_the_source_does_by_default(name):
    config = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/data/{name}.yaml").source)
    assert config["label_map"] == MAPS[name]
    assert config["split"] == BY_PATIENT
    assert config["shareable"] is False
    shown = set(config) - {"_target_"}
    known = keywords_of(config)
    assert shown <= known
    # Left to the source alone are what data.labels chooses anyway, its name, and how DICOM is read.
    assert known - shown <= {"labels", "name", "intensity", "window"}
