"""Run one target with atheris until its time is over: python -m tests.fuzz.one frames --seconds 60 --corpus DIR"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services", "rondo"]):
    from tests.fuzz.targets import TARGETS

INPUT_BYTES_MAX = 4096


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 unless something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.one", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="where inputs are kept that reached something new")
    options = parser.parse_args()
    target = TARGETS[options.target]
    options.corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (options.corpus / f"seed{number}").write_bytes(seed[:INPUT_BYTES_MAX])
    atheris.Setup(
        [
            sys.argv[0], str(options.corpus), f"-max_total_time={options.seconds}", f"-max_len={INPUT_BYTES_MAX}",
            "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={options.corpus}.found-",
        ],
        target.run,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    main()
