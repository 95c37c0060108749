"""Trains on two hosts that are network namespaces of this one, with a link of a given rate.

    python benchmarks/hosts.py            # as root; rates unlimited, 10gbit and 1gbit

Each has an address, a host name and shared memory of its own, so that MPI speaks through TCP. The
rate is that of tc's token bucket; latency is not added, as not every kernel has netem.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import scaling

NAMES = "rnnfast1", "rnnfast2"
# What ssh would do: AGENT HOST COMMAND
AGENT = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
n=${1##*.}; shift
mkdir -p FOLDER/$n
exec ip netns exec rnnfast$n unshare --uts --ipc --mount bash -c \\
    "hostname rnnfast$n; mount -t tmpfs none /dev/shm; export TMPDIR=FOLDER/$n; $*"
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def make_hosts() -> None:
    for name in NAMES:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    run("ip", "link", "add", "link1", "netns", NAMES[0], "type", "veth",
        "peer", "name", "link2", "netns", NAMES[1])  # fmt: skip
    for i, name in enumerate(NAMES, 1):
        run("ip", "-n", name, "addr", "add", f"10.99.0.{i}/24", "dev", f"link{i}")
        run("ip", "-n", name, "link", "set", f"link{i}", "up")


def limit(rate: str) -> None:
    for i, name in enumerate(NAMES, 1):
        bucket = ["tbf", "rate", rate, "burst", "128kb", "latency", "500ms"]
        run("tc", "-n", name, "qdisc", "replace", "dev", f"link{i}", "root", *bucket)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder) / "agent"
        agent.write_text(AGENT.replace("FOLDER", folder))
        agent.chmod(0o755)
        exported = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        command = [
            *(scaling.mpiexec(), "--allow-run-as-root", "--bind-to", "none", "-n", "2"),
            *(
                "--prtemca",
                "plm_ssh_agent",
                str(agent),
                "--prtemca",
                "prte_if_include",
                "link1,link2",
            ),
            *("--host", "10.99.0.1,10.99.0.2", "--mca", "btl", "tcp,self"),
            *(word for name in exported for word in ("-x", name)),
            *(sys.executable, scaling.__file__, "link"),
        ]
        try:
            make_hosts()
            for rate in "unlimited", "10gbit", "1gbit":
                if rate != "unlimited":
                    limit(rate)
                print(f"\n{rate}", flush=True)
                for _ in range(5):  # a daemon does not always start
                    start = [str(agent), "10.99.0.1", " ".join(command)]
                    done = subprocess.run(start, env=os.environ | exported, capture_output=True)
                    if not done.returncode:
                        break
                print(done.stdout.decode() if not done.returncode else done.stderr.decode())
        finally:
            for name in NAMES:
                subprocess.run(["ip", "netns", "del", name], check=False)


if __name__ == "__main__":
    main()
