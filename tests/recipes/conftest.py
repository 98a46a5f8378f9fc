from pathlib import Path

import pandas as pd
import pytest

SHIPPED = Path(__file__).parents[2] / "recipes" / "data" / "email_urgency"


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A slice of the shipped texts in three folds, and of those of the proxy task."""
    folder = tmp_path_factory.mktemp("data")
    messages = pd.read_parquet(SHIPPED / "messages.parquet")
    messages = messages[messages["fold"] < 3]
    kept = [
        rows.head(count)
        for (_, label), rows in messages.groupby(["fold", "label"])
        for count in [12 if label == "urgent" else 70]
    ]
    pd.concat(kept).to_parquet(folder / "messages.parquet")
    pd.read_parquet(SHIPPED / "proxy.parquet").iloc[::14].to_parquet(folder / "proxy.parquet")
    return folder
