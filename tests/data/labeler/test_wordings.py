"""The labeler on other hospitals' wordings: own sentences in the manner of letters, lists and long dictated prose."""

import pytest

from cxrvl.data.labeler import Labeler
from cxrvl.data.reports.cleaning import clean

P, N, U = 1.0, 0.0, -1.0
FINDINGS = Labeler("findings")

PLAIN = [
    ("There is no evidence of pneumothorax or pleural effusion.", {"Pneumothorax": N, "Effusion": N}),
    ("No radiographic evidence for acute pneumonia.", {"Pneumonia": N}),
    ("There is no convincing evidence of pulmonary edema.", {"Edema": N}),
    ("No new consolidation is identified.", {"Consolidation": N}),
    ("Previously seen right effusion is no longer present.", {"Effusion": N}),
    ("The right pneumothorax is no longer visualized.", {"Pneumothorax": N}),
    ("Interval resolution of the left pleural effusion.", {"Effusion": N}),
    ("Interval resolution of right lower lobe pneumonia.", {"Pneumonia": N}),
    ("The pulmonary edema has resolved.", {"Edema": N}),
    ("Pulmonary edema has completely cleared.", {"Edema": N}),
    ("Lungs are free of consolidation or edema.", {"Consolidation": N, "Edema": N}),
    ("The lungs are clear of any focal consolidation.", {"Consolidation": N}),
    ("Absence of pleural effusion.", {"Effusion": N}),
    ("Neither effusion nor pneumothorax is seen.", {"Effusion": N, "Pneumothorax": N}),
    ("Pleural effusion: none.", {"Effusion": N}),
    ("Pneumothorax: absent", {"Pneumothorax": N}),
    ("Effusions: No", {"Effusion": N}),
    ("Patient is s/p removal of the right chest tube without pneumothorax.", {"Pneumothorax": N, "Support Devices": N}),
    ("Without evidence of pneumothorax after line placement.", {"Pneumothorax": N}),
    ("The study is negative for consolidation.", {"Consolidation": N}),
    ("I see no pneumothorax.", {"Pneumothorax": N}),
    ("Pneumonia is unlikely.", {"Pneumonia": N}),
    ("Pneumonia is felt to be unlikely.", {"Pneumonia": N}),
    ("The cardiac silhouette is not enlarged.", {"Cardiomegaly": N}),
    ("Heart size is top-normal.", {"Cardiomegaly": N}),
    ("Cardiac silhouette size is normal.", {"Cardiomegaly": N}),
    ("The cardiomediastinal and hilar contours are within normal limits.", {"Enlarged Cardiomediastinum": N}),
    ("No displaced rib fracture.", {"Fracture": N}),
    ("No acute fractures are identified.", {"Fracture": N}),
    ("No pulmonary nodules or masses.", {"Nodule": N, "Mass": N}),
    ("There are no pleural effusions bilaterally.", {"Effusion": N}),
    ("No pleural effusion, pulmonary edema, pneumothorax, or focal consolidation is present.",
     {"Effusion": N, "Edema": N, "Pneumothorax": N, "Consolidation": N}),
    ("No definite focal consolidation, although atelectasis is present.", {"Consolidation": N, "Atelectasis": P}),
    ("The lungs are without focal consolidation; small right effusion persists.", {"Consolidation": N, "Effusion": P}),
    ("No pneumothorax. Small left effusion.", {"Pneumothorax": N, "Effusion": P}),
    ("No pneumothorax but small left effusion.", {"Pneumothorax": N, "Effusion": P}),
    ("There is no pneumothorax and there is a small effusion.", {"Pneumothorax": N, "Effusion": P}),
    ("No change in moderate cardiomegaly.", {"Cardiomegaly": P}),
    ("No significant interval change in the right pleural effusion.", {"Effusion": P}),
    ("No interval change in bibasilar atelectasis.", {"Atelectasis": P}),
    ("The effusion is not significantly changed.", {"Effusion": P}),
    ("Left effusion is unchanged.", {"Effusion": P}),
    ("The effusion has not resolved.", {"Effusion": P}),
    ("Persistent small apical pneumothorax.", {"Pneumothorax": P}),
    ("Right greater than left pleural effusions.", {"Effusion": P}),
    ("Bilateral pleural effusions, right greater than left, with adjacent atelectasis.", {"Effusion": P, "Atelectasis": P}),
    ("Layering effusions are seen on both sides.", {"Effusion": P}),
    ("Moderate-to-severe cardiomegaly is re-demonstrated.", {"Cardiomegaly": P}),
    ("The heart remains enlarged.", {"Cardiomegaly": P}),
    ("Heart size is moderately enlarged.", {"Cardiomegaly": P}),
    ("The cardiac silhouette is enlarged.", {"Cardiomegaly": P}),
    ("Mild interval worsening of interstitial pulmonary edema.", {"Edema": P}),
    ("Mild pulmonary vascular congestion.", {"Vascular Congestion": P}),
    ("Opacification of the left hemithorax.", {"Lung Opacity": P}),
    ("Ill-defined opacity in the lingula.", {"Lung Opacity": P}),
    ("Retrocardiac consolidation is new.", {"Consolidation": P}),
    ("A 7-mm nodular density projects over the right apex.", {"Nodule": None, "Lung Lesion": P}),
    ("Spiculated mass in the right upper lobe.", {"Mass": P, "Lung Lesion": P}),
    ("Multiple old right rib fractures.", {"Fracture": P}),
    ("Compression fracture of T12.", {"Fracture": P}),
    ("Moderate hiatal hernia.", {"Hernia": P}),
    ("Upper lobe predominant emphysema.", {"Emphysema": P}),
    ("Biapical pleural thickening.", {"Pleural Thickening": P}),
    ("Calcified pleural plaques.", {"Pleural Other": P}),
    ("Tip of the endotracheal tube is 3 cm above the carina.", {"Support Devices": P}),
    ("Right IJ line ends in the mid SVC.", {"Support Devices": P}),
    ("Left-sided pacemaker with leads in standard position.", {"Support Devices": P}),
    ("NG tube courses below the diaphragm.", {"Support Devices": P}),
    ("Median sternotomy wires are intact.", {"Support Devices": P}),
    ("Pneumonia cannot be excluded.", {"Pneumonia": U}),
    ("Superimposed pneumonia cannot be entirely excluded.", {"Pneumonia": U}),
    ("A small left effusion cannot be ruled out.", {"Effusion": U}),
    ("An early infectious process is not excluded.", {"Infection": U}),
    ("Cannot rule out a trace effusion.", {"Effusion": U}),
    ("It is difficult to exclude a small pneumothorax.", {"Pneumothorax": U}),
    ("Findings may reflect atelectasis or aspiration.", {"Atelectasis": U}),
    ("Opacity, which could represent atelectasis.", {"Lung Opacity": P, "Atelectasis": U}),
    ("Left basilar opacity, likely atelectasis.", {"Lung Opacity": P, "Atelectasis": U}),
    ("Opacity is concerning for pneumonia.", {"Lung Opacity": P, "Pneumonia": U}),
    ("Findings suggestive of mild pulmonary edema.", {"Edema": U}),
    ("Probable small left pleural effusion.", {"Effusion": U}),
    ("Possible trace right effusion.", {"Effusion": U}),
    ("There is likely a small effusion.", {"Effusion": U}),
    ("Questionable left apical pneumothorax.", {"Pneumothorax": U}),
    ("? small left effusion", {"Effusion": U}),
    ("Atelectasis vs. consolidation at the right base.", {"Atelectasis": U, "Consolidation": U}),
    ("Differential includes pneumonia and atelectasis.", {"Pneumonia": U, "Atelectasis": U}),
    ("In the appropriate clinical setting, pneumonia is a consideration.", {"Pneumonia": U}),
    ("Suspicious for malignancy or a nodule.", {"Nodule": U}),
    ("Cannot exclude underlying pneumonia, but no effusion.", {"Pneumonia": U, "Effusion": N}),
    ("Blunting of the left costophrenic angle may be due to a small effusion.", {"Effusion": U}),
    ("Equivocal nodule at the right base.", {"Nodule": U}),
    ("Pneumothorax is also present.", {"Pneumothorax": P}),
    ("Rule out pneumonia.", {"Pneumonia": U}),
    ("Evaluate for pneumothorax.", {"Pneumothorax": U}),
    ("If there is concern for pneumonia, a lateral view is advised.", {"Pneumonia": U}),
    ("History of pneumonia.", {"Pneumonia": None}),
    ("Status post treatment for breast carcinoma.", {"Mass": None}),
    ("Small pericardial effusion.", {"Effusion": None}),
    ("No subcutaneous emphysema.", {"Emphysema": None}),
    ("Cervical spine fusion hardware.", {"Support Devices": P}),
    ("Degenerative changes of the midline.", {"Support Devices": None}),
    ("No evidence of free air.", {"Other Abnormality": N}),
    ("Interval extubation.", {"Support Devices": None}),
    ("ETT has been removed.", {"Support Devices": N}),
    ("Interval removal of the endotracheal tube.", {"Support Devices": N}),
    ("The lungs are hyperinflated compatible with COPD.", {"Other Abnormality": P}),
    ("Minimal blunting of the right costophrenic angle.", {"Effusion": None, "Other Abnormality": P}),
    ("No large effusion or pneumothorax although the apices are excluded.", {"Effusion": N, "Pneumothorax": N}),
    ("Right apical PTX is slightly larger.", {"Pneumothorax": P}),
    ("There is volume loss and collapse of the right middle lobe.", {"Atelectasis": P}),
    ("No lobar collapse.", {"Atelectasis": N}),
    ("Please evaluate for ptx.", {"Pneumothorax": U}),
    ("There is no focal consolidation concerning for pneumonia.", {"Consolidation": N, "Pneumonia": N}),
    ("No findings suspicious for pneumonia.", {"Pneumonia": N}),
    ("No evidence to suggest pulmonary edema.", {"Edema": N}),
    ("Left pneumothorax has almost completely resolved.", {"Pneumothorax": P}),
    ("Near complete resolution of the pneumothorax.", {"Pneumothorax": P}),
    ("Partial resolution of the edema.", {"Edema": P}),
    ("No improvement in the edema.", {"Edema": P}),
    ("Pneumonia is not suspected.", {"Pneumonia": N}),
    ("The nodule is not seen on the lateral view.", {"Nodule": N}),
    ("New left effusion, not present on the prior study.", {"Effusion": P}),
    ("An opacity not seen previously.", {"Lung Opacity": P}),
    ("Bibasilar opacities, atelectasis versus infection.", {"Lung Opacity": P, "Atelectasis": U, "Infection": U}),
    ("Trace bilateral effusions, if any.", {"Effusion": U}),
    ("No more than a trace effusion.", {"Effusion": P}),
    ("Suggestion of a nodule.", {"Nodule": U}),
    ("Hint of edema.", {"Edema": U}),
    ("Cannot be distinguished from effusion.", {"Effusion": U}),
    ("Right chest tube removed; no pneumothorax.", {"Pneumothorax": N, "Support Devices": N}),
    ("There is no pneumothorax following chest tube placement.", {"Pneumothorax": N, "Support Devices": P}),
    ("The hilar and mediastinal silhouettes are unremarkable.", {"Enlarged Cardiomediastinum": N}),
    ("The patient has not developed a pneumothorax.", {"Pneumothorax": N}),
    ("Removal of chest tube with small residual pneumothorax.", {"Pneumothorax": P}),
    ("No pneumothorax status post line placement.", {"Pneumothorax": N}),
    ("No pneumonia, vascular congestion, or pleural effusion.",
     {"Pneumonia": N, "Vascular Congestion": N, "Effusion": N}),
    ("Moderate right hemopneumothorax.", {"Pneumothorax": P, "Effusion": P}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PLAIN)
def test_wordings(text, expected):
    found = FINDINGS.label(text)
    assert {label: found.get(label) for label in expected} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. No pneumothorax.\n2. Small left effusion.", {"Pneumothorax": N, "Effusion": P}),
        ("LUNGS: Clear.\nPLEURA: No effusion.\nHEART: Enlarged.", {"Effusion": N}),
        ("HEART: The heart is enlarged. LUNGS: No edema.", {"Cardiomegaly": P, "Edema": N}),
        ("NO PNEUMOTHORAX. SMALL LEFT EFFUSION.", {"Pneumothorax": N, "Effusion": P}),
        ("No\npneumothorax or\npleural effusion.", {"Pneumothorax": N, "Effusion": N}),
        ("Comparison to prior: effusion decreased, edema improved.", {"Effusion": P, "Edema": P}),
        ("- left effusion\n- no pneumothorax", {"Effusion": P, "Pneumothorax": N}),
    ],
)
def test_lists_headings_and_capitals(text, expected):
    found = FINDINGS.label(clean(text))
    assert {label: found.get(label) for label in expected} == expected


def test_stems_hide_nothing(monkeypatch):
    """A sentence is judged alike where every expression is tried, whatever its words."""
    from cxrvl.data.labeler import mentions

    texts = [text for text, _ in PLAIN]
    quick = [mentions.mentions(text) for text in texts]
    everything = (set(range(len(mentions._rules().findings))), set(mentions._context().stems))
    monkeypatch.setattr(mentions, "_signs", lambda text: everything)
    assert [mentions.mentions(text) for text in texts] == quick
