"""What schemathesis makes of the OpenAPI document: requests that it admits, and requests that it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.serving import Service

PHASES = "examples,coverage,fuzzing"

NOT_IN_A_SCHEMA = "positive_data_acceptance"
"""This check asks that every body that the schema admits is answered. That vram and gpu are not given together, or
that heads divide hidden, a schema does not say; the sentence that comes with a 422 does."""


WALKED_ELSEWHERE = ("/v1/band", "/v1/batch")
"""Operations whose bodies hold the query of /v1/solve, in a batch many times over. Their schemas are drawn from and not
walked value by value, which for these two would be three quarters of all requests."""


def test_the_service_is_as_the_document_says(tmp_path: Path) -> None:
    settings = [
        f'[[operations]]\ninclude-path = "{path}"\nphases.coverage.enabled = false\n' for path in WALKED_ELSEWHERE
    ]
    (tmp_path / "schemathesis.toml").write_text("".join(settings))
    with Service("--workers", "2", "--quiet", "--max-batch", "20", "--allow-verify") as service:
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file=schemathesis.toml", "run",
             f"{service.url}/openapi.json", "--no-color", f"--phases={PHASES}",
             f"--exclude-checks={NOT_IN_A_SCHEMA}", "--max-examples=10",
             "--exclude-path=/v1/verify",  # every example would build a model
             "--generation-deterministic", "--suppress-health-check=all"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"Operations: +1\d selected", done.stdout), done.stdout
        assert service.client.get("/healthz").status_code == 200
