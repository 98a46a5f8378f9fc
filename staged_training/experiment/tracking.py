"""Curves of training, watched while it runs."""


def end_tracking(tracker: str) -> None:
    """Let the next training be a run of its own, which only `wandb` has to be told."""
    if tracker == "wandb":
        import wandb

        wandb.finish()
