"""The process of one trial: a trial as JSON on stdin, its outcome as one line of JSON on stdout.

python -m solver.verify.worker PARENT
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TextIO

from solver.verify.measure import Trial
from solver.verify.trial import run_trial

PARENT_CHECK_SECONDS = 1.0


def main() -> None:
    """Run the trial that stands on stdin. Stages and errors go to stderr."""
    answer = _take_stdout()
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    trial = Trial.from_json(sys.stdin.read())
    outcome = run_trial(trial, say=lambda stage: print(stage, file=sys.stderr, flush=True))
    print(outcome.to_json(), file=answer, flush=True)


def _take_stdout() -> TextIO:
    """Keep stdout for the answer: what a library prints goes to stderr from here on."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answer


def _end_with(parent: int) -> None:
    """A parent that is killed cannot kill its worker, which would go on holding the card's memory."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
