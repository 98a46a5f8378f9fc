"""An experiment: its folds, its folder, its pieces of work, and their results."""
