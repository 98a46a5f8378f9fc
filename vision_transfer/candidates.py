"""Candidates for a classifier of images: heads on stored features, and top layers tuned after."""

from staged_training.stages import Stage

TOP_LAYERS = Stage(
    "top layers",
    train="backbone[-1:], head",
    epochs=3,
    learning_rate=2e-4,
    layer_decay=0.5,
    keep_statistics=True,
)
