"""`python -m conformance` is the `conformance` command."""

from conformance.cli import entry_point

if __name__ == "__main__":
    entry_point()
