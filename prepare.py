"""Render meshes or analytic shapes as posed views: the same run() as `python -m one2345.cli.prepare`."""

from one2345.cli.prepare import run

if __name__ == "__main__":
    run()
