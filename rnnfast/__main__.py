"""The command line: ``python -m rnnfast info``, ``demo`` and ``bench``."""

from __future__ import annotations

import argparse
import sys

from . import bench, demo
from .backend import active
from .info import show_config


def info(args: argparse.Namespace) -> int:
    """Print what `rnnfast.show_config` prints; fail where nothing can compute."""
    show_config()
    try:
        active()
    except (ValueError, ImportError, RuntimeError) as error:
        print(f"rnnfast: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="rnnfast", description="Recurrent networks on CPUs.")
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("info", help="print versions, instruction sets and threads")
    command.set_defaults(run=info)

    command = commands.add_parser("demo", help="train a character model on real text, and use it")
    demo.add_arguments(command)
    command.set_defaults(run=demo.main)

    command = commands.add_parser("bench", help="time the engine over a few shapes")
    bench.add_arguments(command)
    command.set_defaults(run=bench.main)

    args = parser.parse_args(argv)
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
