"""Scores of patients from slices of CT, of which a few show why: by mean, largest, attention.

The patients are simulated (`vision_transfer.ct.simulated.simulated_patients`): 12 slices each, of
which two have a lesion, benign or malignant; the label is known of the patient alone. Features are
of a frozen model of ImageNet. Each number of patients is drawn five times; all are measured on the
same 300 others. How attention learns was chosen on other patients than these (seeds 11 and 12).

    pip install 'nlp-transfer[vision,ct,assets]' pydicom-data
    python benchmarks/ct_patients.py [--quick]
"""

import argparse

import numpy as np

from staged_training.runtime.markdown import markdown_table
from vision_transfer.backbones import load_backbone
from vision_transfer.ct.bags import POOLINGS, Bags, compare_poolings
from vision_transfer.ct.pretraining import as_photo
from vision_transfer.ct.simulated import LABELS, simulated_patients
from vision_transfer.ct.windows import WindowedSlices
from vision_transfer.few_labels import LabelledImages, features

WINDOW = (50.0, 250.0)


def simulated_bags(patients: int, seed: int) -> Bags:
    """Return the features of simulated patients."""
    scans = simulated_patients(patients, seed)
    slices = WindowedSlices(scans.hounsfield, WINDOW)
    model, _ = load_backbone("efficientnet-lite0", LABELS)
    found = features(model, LabelledImages(slices, scans.labels, as_photo))
    return Bags(found.numpy(), scans.labels, scans.patients, scans.patients)


def main() -> None:
    """Print a table: AUC by patient, by the number of patients and the pooling."""
    parser = argparse.ArgumentParser(description="Scores of patients from slices of CT.")
    parser.add_argument("--quick", action="store_true", help="two draws of 50 patients")
    quick = parser.parse_args().quick
    counts, draws = ((50,), 2) if quick else ((50, 100, 200), 5)
    test = simulated_bags(60 if quick else 300, seed=100)
    rows = []
    for count in counts:
        found = []
        for draw in range(draws):
            train = simulated_bags(count, seed=101 + draw)
            found.append({how: area.value for how, area in compare_poolings(train, test).items()})
        for how in POOLINGS:
            areas = np.array([areas[how] for areas in found])
            rows.append([count, how, f"{areas.mean():.3f} ± {areas.std(ddof=1):.3f}"])
    print(markdown_table(["patients", "pooling", "AUC by patient"], rows))


if __name__ == "__main__":
    main()
