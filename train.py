"""Train a reconstructor: the same run() as `python -m one2345.cli.train`."""

from one2345.cli.train import run

if __name__ == "__main__":
    run()
