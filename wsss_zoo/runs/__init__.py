"""The folder of one run: its metrics, checkpoint, configuration and wandb run."""

from wsss_zoo.runs.metrics_csv import read_metrics

__all__ = ["read_metrics"]
