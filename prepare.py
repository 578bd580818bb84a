"""Render meshes or analytic shapes into the views format: the same run() as `python -m one2345.cli.prepare`."""

from one2345.cli.prepare import run

if __name__ == "__main__":
    run()
