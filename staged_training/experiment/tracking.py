"""Curves of training, watched while it runs."""


def end_tracking(report_to: str | list[str] | None) -> None:
    """End the run of `wandb`, so that the next training is a run of its own."""
    if "wandb" in (report_to or ()):
        import wandb

        wandb.finish()
