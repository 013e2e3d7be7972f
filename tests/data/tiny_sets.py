"""Tiny copies of public data sets' layouts: real column names, made-up rows, files of a few bytes for images."""

import gzip

from cxrvl.data.labels import CHEXPERT14
from cxrvl.data.sources.mimic_cxr import TABLES
from cxrvl.data.sources.padchest import FILE

CHEXPERT_HEADER = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT14])
# No Finding, Enlarged Cardiomediastinum, Cardiomegaly, Lung Opacity, Lung Lesion, Edema, ..., Support Devices
CHEXPERT_TRAIN = [
    "{top}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "{top}/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "{top}/train/patient00002/study1/view1_frontal.jpg,Female,83,Frontal,LL,,,,1.0,,,-1.0,,,,,,1.0,",
    "{top}/train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,",
    "{top}/train/patient00003/study1/view1_frontal.jpg,Unknown,41,Frontal,AP,,,,,,1.0,,,,0.0,,,,",
]
CHEXPERT_VALID = [
    "{top}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0,0,0,0,0,0,0,0,0,0"
]
MIMIC_METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
MIMIC_IMAGES = [
    ("aaaa-01", "10000032", "50414267", "PA", "3056", "2544", "train"),
    ("aaaa-02", "10000032", "50414267", "LATERAL", "3056", "2544", "train"),
    ("bbbb-01", "10000764", "57375967", "AP", "2022", "2022", "validate"),
    ("cccc-01", "11000898", "50771383", "LL", "2020", "2020", "test"),
    ("dddd-01", "11000898", "54205396", "", "2020", "2020", "test"),
]
MIMIC_STUDIES = list(dict.fromkeys((subject, study) for _, subject, study, *_ in MIMIC_IMAGES))
MIMIC_LABELS = {  # positions in CHEXPERT14
    "50414267": {0: "1.0"},
    "57375967": {5: "-1.0", 10: "1.0", 8: "0.0"},
    "50771383": {2: "1.0"},
}
PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS"
)
PADCHEST_ROWS = [
    "0,a1.png,0,20140915,s1,p1,1930.0,F,POSTEROANTERIOR,PA,DICOM,No,CR,r1,sin hallazg .,Physician,['normal'],[],[],[],[]",
    "1,a2.png,0,20140915,s1,p1,1930.0,F,LATERAL,L,DICOM,No,CR,r1,sin hallazg .,Physician,['normal'],[],[],[],[]",
    "2,b1.png,14,20150101,s2,p2,1950.0,M,AP,AP_horizontal,M,No,DX,r2,derram pleural izquierd .,RNN_model,"
    "\"[' pleural effusion', 'COPD signs', 'NSG tube ']\",[],[],[],[]",
    "3,c1.png,14,20150101,s3,p3,1960.0,,,PA,M,No,DX,r3,sin cambi . cardiomegali .,RNN_model,"
    "\"['unchanged', 'cardiomegaly']\",[],[],[],[]",
    "4,d1.png,54,20160101,s4,p4,,O,,COSTAL,M,No,DX,r4,,RNN_model,nan,nan,[],[],[]",
    "5,e1.png,54,20160101,s5,p5,1800.0,F,,EXCLUDE,M,No,DX,r5,hidroneumotorax .,RNN_model,"
    "\"['hydropneumothorax', nan, '']\",[],[],[],[]",
]


def write_chexpert(root, top):
    root.mkdir()
    for part, rows in (("train", CHEXPERT_TRAIN), ("valid", CHEXPERT_VALID)):
        lines = [row.format(top=top) for row in rows]
        (root / f"{part}.csv").write_text("\n".join([CHEXPERT_HEADER, *lines]) + "\n")
        for line in lines:
            image = root.parent / line.split(",")[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(b"x" * 5)
    return root


def write_mimic(root, layout):
    rows = {"metadata": [MIMIC_METADATA], "split": ["dicom_id,study_id,subject_id,split"]}
    for dicom, subject, study, view, height, width, split in MIMIC_IMAGES:
        rows["metadata"].append(f"{dicom},{subject},{study},CHEST,{view},{height},{width},21800506,213014.531,,,Erect")
        rows["split"].insert(1, f"{dicom},{study},{subject},{split}")  # in another order than the metadata
        folder = root / f"files/p{subject[:2]}/p{subject}/s{study}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{dicom}.{'jpg' if layout == 'jpg' else 'dcm'}").write_bytes(b"xy")
    for kind in ("chexpert", "negbio"):
        rows[kind] = ["subject_id,study_id," + ",".join(CHEXPERT14)]
        for subject, study in MIMIC_STUDIES:
            if study in MIMIC_LABELS:
                values = [MIMIC_LABELS[study].get(i, "") for i in range(14)]
                rows[kind].append(",".join([subject, study, *values]))
    rows["negbio"][2] = rows["negbio"][2].replace("-1.0", "1.0")
    for kind, lines in rows.items():
        text = "\n".join(lines) + "\n"
        if layout == "jpg":
            (root / TABLES[kind]).write_text(text)
        else:
            (root / f"{TABLES[kind]}.gz").write_bytes(gzip.compress(text.encode()))
    return root


def write_padchest(root):
    (root / FILE).write_text("\n".join([PADCHEST_HEADER, *PADCHEST_ROWS]) + "\n")
    for row in PADCHEST_ROWS:
        _, name, folder, *_ = row.split(",")
        (root / folder).mkdir(exist_ok=True)
        (root / folder / name).write_bytes(b"x")
    return root
