"""Curves of training, watched while it runs."""


def end_tracking(report_to: str | list[str] | None) -> None:
    """Let the next training be a run of its own, which only `wandb` has to be told."""
    if "wandb" in (report_to or ()):
        import wandb

        wandb.finish()
