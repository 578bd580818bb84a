"""Measure a checkpoint and its baselines on a dataset: the same run() as `python -m one2345.cli.evaluate`."""

from one2345.cli.evaluate import run

if __name__ == "__main__":
    run()
