"""A picture, posed pictures or a text to a textured mesh: the same run() as `python -m one2345.cli.reconstruct`."""

from one2345.cli.reconstruct import run

if __name__ == "__main__":
    run()
