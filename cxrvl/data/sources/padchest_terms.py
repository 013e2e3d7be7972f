"""Which findings does a PadChest row list, and what are they called in the joint vocabulary?"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.checks import listing
from cxrvl.data.labels import map_labels
from cxrvl.errors import DataError

TermMap = Mapping[str, str | Sequence[str] | None]

# Written term -> label or labels. Follows the tree of findings in Bustos et al., Medical Image Analysis 2020, figure
# 6: a finding counts for its branch where the branch is a label. Left out are the labels that PadChest's terms do not
# cover as a whole (Lung Opacity, Lung Lesion, Pleural Other, Enlarged Cardiomediastinum): a 0 would be wrong there.
TERM_MAP: TermMap = {
    "normal": "No Finding",
    **dict.fromkeys(
        ("atelectasis", "atelectasis basal", "laminar atelectasis", "lobar atelectasis", "round atelectasis",
         "segmental atelectasis", "total atelectasis"), "Atelectasis"),
    "cardiomegaly": "Cardiomegaly",
    **dict.fromkeys(("consolidation", "air bronchogram"), ("Consolidation", "Infiltration")),
    "pulmonary edema": "Edema",
    **dict.fromkeys(
        ("pleural effusion", "loculated pleural effusion", "loculated fissural effusion", "empyema", "hemothorax"),
        "Effusion"),
    "emphysema": "Emphysema",
    **dict.fromkeys(("pulmonary fibrosis", "post radiotherapy changes", "asbestosis signs"), "Fibrosis"),
    **dict.fromkeys(
        ("fracture", "callus rib fracture", "clavicle fracture", "humeral fracture", "rib fracture",
         "vertebral fracture"), "Fracture"),
    "hiatal hernia": "Hernia",
    "hydropneumothorax": ("Effusion", "Pneumothorax"),
    **dict.fromkeys(
        ("infiltrates", "alveolar pattern", "ground glass pattern", "interstitial pattern", "miliary opacities",
         "reticular interstitial pattern", "reticulonodular interstitial pattern"), "Infiltration"),
    **dict.fromkeys(("mass", "pulmonary mass"), "Mass"),
    **dict.fromkeys(("nodule", "multiple nodules"), "Nodule"),
    **dict.fromkeys(
        ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"), "Pleural_Thickening"),
    **dict.fromkeys(("pneumonia", "atypical pneumonia"), "Pneumonia"),
    "pneumothorax": "Pneumothorax",
    **dict.fromkeys(
        ("catheter", "central venous catheter", "central venous catheter via jugular vein",
         "central venous catheter via subclavian vein", "central venous catheter via umbilical vein",
         "reservoir central venous catheter", "chest drain tube", "endotracheal tube", "gastrostomy tube", "nsg tube",
         "nephrostomy tube", "tracheostomy tube", "ventriculoperitoneal drain tube", "double j stent",
         "electrical device", "dai", "dual chamber device", "pacemaker", "single chamber device",
         "artificial heart valve", "artificial aortic heart valve", "artificial mitral heart valve"),
        "Support Devices"),
    "tuberculosis": "Tuberculosis",
    "tuberculosis sequelae": None,  # scars of a healed disease
}  # fmt: skip

# The rest of the released table's terms: known, and none of our labels.
OTHER_TERMS = frozenset(
    """abnormal foreign body|abscess|adenopathy|air fluid level|air trapping|aortic aneurysm|aortic atheromatosis|
    aortic button enlargement|aortic elongation|aortic endoprosthesis|ascendent aortic elongation|axial hyperostosis|
    azygoesophageal recess shift|azygos lobe|blastic bone lesion|bone cement|bone metastasis|breast mass|bronchiectasis|
    bronchovascular markings|bullas|calcified adenopathy|calcified densities|calcified fibroadenoma|calcified granuloma|
    calcified mediastinal adenopathy|calcified pleural plaques|cavitation|central vascular redistribution|cervical rib|
    chilaiditi sign|chronic changes|copd signs|costochondral junction hypertrophy|costophrenic angle blunting|cyst|
    descendent aortic elongation|dextrocardia|diaphragmatic eventration|end on vessel|endoprosthesis|
    esophagic dilatation|exclude|external foreign body|fibrotic band|fissure thickening|flattened diaphragm|goiter|
    granuloma|gynecomastia|heart insufficiency|heart valve calcified|hemidiaphragm elevation|hilar congestion|
    hilar enlargement|humeral prosthesis|hyperinflated lung|hypoexpansion|hypoexpansion basal|increased density|
    kerley lines|kyphosis|lepidic adenocarcinoma|lipomatosis|lung metastasis|lung vascular paucity|
    lymphangitis carcinomatosa|lytic bone lesion|major fissure thickening|mammary prosthesis|mastectomy|
    mediastinal enlargement|mediastinal mass|mediastinal shift|mediastinic lipomatosis|metal|minor fissure thickening|
    nipple shadow|non axial articular degenerative changes|obesity|osteopenia|osteoporosis|osteosynthesis material|
    pectum carinatum|pectum excavatum|pericardial effusion|pleural mass|pleural plaques|pneumomediastinum|
    pneumoperitoneo|prosthesis|pseudonodule|pulmonary artery enlargement|pulmonary artery hypertension|
    pulmonary hypertension|pulmonary venous hypertension|respiratory distress|right sided aortic arch|
    sclerotic bone lesion|scoliosis|soft tissue mass|sternoclavicular junction hypertrophy|sternotomy|
    subacromial space narrowing|subcutaneous emphysema|suboptimal study|superior mediastinal enlargement|
    supra aortic elongation|surgery|surgery breast|surgery heart|surgery humeral|surgery lung|surgery neck|
    suture material|thoracic cage deformation|tracheal shift|unchanged|vascular hilar enlargement|
    vascular redistribution|vertebral anterior compression|vertebral compression|vertebral degenerative changes|
    volume loss""".replace("\n", "")
    .replace("    ", "")
    .split("|")
)
# A report that says no more than "as before", or that could not be labelled, denies nothing.
DENIES_NOTHING = frozenset({"exclude", "suboptimal study", "unchanged"})

_ITEM = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|nan|None)\s*(,|\])""")


def parse_terms(text: str) -> list[str] | None:
    """Read a list as Python prints it: "['pleural effusion', ' nodule', nan]" gives its words without stray spaces.

    Returns lower-case terms in order, empty ones left out; None for what is no such list. Nothing is evaluated.
    """
    text = text.strip()
    if not text.startswith("["):
        return None
    if text == "[]":
        return []
    terms = []
    position, mark = 1, ","
    while mark == ",":
        item = _ITEM.match(text, position)
        if item is None:
            return None
        word = " ".join((item[1] or item[2] or "").split()).lower()
        if word and word != "nan":
            terms.append(word)
        position, mark = item.end(), item[3]
    return terms if position == len(text) else None


def label_terms(text: pd.Series, term_map: TermMap, origin: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Turn the column `Labels` into one column per label of the joint vocabulary.

    text: N lists of terms, index = 0-based data rows of `origin`; term_map: term -> label, labels, or None.
    Returns (N, labels) float32: 1 where a term of the label is listed, 0 where a list has none, NaN where there is no
    list or an empty one, and NaN in place of 0 beside a term of `DENIES_NOTHING`; and a note that counts the rows
    without a list. Raises DataError naming the row for what is no list or a term that is not known, and for a label
    outside the vocabulary.
    """
    wanted = {" ".join(term.split()).lower(): _labels(labels) for term, labels in term_map.items()}
    labels = list(dict.fromkeys(label for found in wanted.values() for label in found))
    column = {label: i for i, label in enumerate(labels)}
    known = {*wanted, *TERM_MAP, *OTHER_TERMS}
    codes, entries = pd.factorize(text, use_na_sentinel=False)
    patterns = np.full((len(entries), len(labels)), np.nan, dtype=np.float32)
    unknown: dict[str, int] = {}
    for code, entry in enumerate(entries):
        if pd.isna(entry) or str(entry).strip().lower() in ("", "nan"):
            continue
        terms = parse_terms(str(entry))
        if terms is None:
            row = int(text.index[int(np.flatnonzero(codes == code)[0])]) + 1
            raise DataError(
                f"{origin}, row {row}, column {text.name!r}: found {str(entry)[:80]!r}, expected a list such as "
                "['pleural effusion', 'nodule']; use the released table"
            )
        unknown.update({term: code for term in terms if term not in known and term not in unknown})
        if terms and not DENIES_NOTHING.intersection(terms):
            patterns[code] = 0.0
        patterns[code, [column[label] for term in terms for label in wanted.get(term, ())]] = 1.0
    if unknown:
        code = next(iter(unknown.values()))
        row = int(text.index[int(np.flatnonzero(codes == code)[0])]) + 1
        first = next(iter(unknown))
        raise DataError(
            f"{origin}, row {row}, column {text.name!r}: found {listing([repr(t) for t in unknown], 10)}, which PadChest "
            f"does not know{did_you_mean(first, known)}; mend it, or name it in label_map ({first}: null leaves it out)"
        )
    values = pd.DataFrame(patterns[codes], index=text.index, columns=labels)
    values = map_labels(values, {label: label for label in labels}, origin)
    empty = int(values.isna().all(axis=1).sum())
    notes = (f"{empty} of {len(text)} images have no readable list of findings and no labels",) if empty else ()
    return values, notes


def _labels(labels: str | Sequence[str] | None) -> tuple[str, ...]:
    if labels is None:
        return ()
    return (labels,) if isinstance(labels, str) else tuple(labels)
