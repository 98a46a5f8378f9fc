"""AutoGluon on a table of texts; run by an interpreter that has it, as its libraries are others.

FOLDER holds `train.csv` and `test.csv` with the columns `text` and `label`, and gets
`probabilities.npy`, `[texts, labels]`, the labels in the order of their names.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.multimodal import MultiModalPredictor


def main() -> None:
    folder, base, seed, labels = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    train, test = (
        pd.read_csv(folder / f"{part}.csv", dtype=str, keep_default_na=False)
        for part in ("train", "test")
    )
    problem = "binary" if len(labels) == 2 else "multiclass"
    predictor = MultiModalPredictor(label="label", problem_type=problem, path=str(folder / "model"))
    settings = {"model.hf_text.checkpoint_name": base, "env.num_gpus": 0, "env.num_workers": 0}
    predictor.fit(train, hyperparameters={"model.names": ["hf_text"], **settings}, seed=seed)
    found = predictor.predict_proba(test[["text"]], as_pandas=True)
    np.save(folder / "probabilities.npy", found[labels].to_numpy())


if __name__ == "__main__":
    main()
