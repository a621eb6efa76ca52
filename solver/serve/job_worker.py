"""A process that verifies the configs of one job: the body on standard input, one JSON line on standard output for
each that is done, and last the answer. It loads torch, so that the service need not."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from diymodel.config import ConfigError
from solver.errors import RequestError
from solver.report.answers import Verified, VerifyAnswer
from solver.serve.answers import to_verify
from solver.serve.bodies import parse
from solver.serve.bounds import Bounds
from solver.serve.problems import problem_of


def main() -> None:
    bounds = Bounds(**json.loads(sys.argv[1]))
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(**values: Any) -> None:
        print(json.dumps(values, allow_nan=False), file=lines, flush=True)

    from solver.verify import verify_config

    asked = to_verify(parse(sys.stdin.buffer.read(), bounds.nesting), bounds)
    verified = []
    try:
        for source, config, recipe in asked.configs:
            verification = verify_config(config, recipe, device=asked.device, budget_bytes=asked.budget)
            verified.append(Verified(source=source, config=config, recipe=recipe, verification=verification))
            say(done=len(verified))
    except (RequestError, ConfigError) as error:  # a device that is not here, or too small
        say(problem=problem_of(error).to_dict())
        return
    say(answer=VerifyAnswer(tuple(verified)).to_dict())


if __name__ == "__main__":
    main()
