"""`python -m conformance.mutants` drives all mutants and writes the kill matrix."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance.mutants import DEFECTS, ODDITIES
from conformance.mutants.matrix import by_name, deviations, drive, line, page, read_rows, row


def main(arguments: list[str] | None = None) -> int:
    """Drive mutants; 0 where each is seen as it says, 1 where one is not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.mutants",
        description="Drive the mutants through the probes and write the kill matrix.",
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to FILE")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="drive this mutant alone, and keep the other rows of FILE; repeatable",
    )
    options = parser.parse_args(arguments)
    try:
        mutants = [by_name(name) for name in options.only or ()] or [*DEFECTS, *ODDITIES]
        known = options.write.read_text("utf-8") if options.write and options.only else ""
    except KeyError as error:
        parser.error(f"no mutant is called {error.args[0]!a}")
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"{str(options.write)!a}: {error}")
    rows = read_rows(known)
    odd = 0
    for mutant in mutants:
        result = drive(mutant)
        rows[mutant.__name__] = row(mutant, result)
        for told in deviations(mutant, result):
            odd += 1
            sys.stderr.write(f"{told}\n")
        if options.only and not options.write:
            sys.stdout.write(f"{line(rows[mutant.__name__])}\n")
    missing = {mutant.__name__ for mutant in (*DEFECTS, *ODDITIES)} - rows.keys()
    if options.write and missing:
        parser.error(
            f"{str(options.write)!a} has no row of {min(missing)}: write it without --only"
        )
    if options.write:
        options.write.write_text(page(rows.values()), "utf-8")
    elif not options.only:
        sys.stdout.write(page(rows.values()))
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
