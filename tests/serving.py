"""A service in a process of its own, as a user starts it, for the tests that ask it something."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]


class Service:
    """`diysolve serve` at a port of its own, on this machine only: where it is, how to ask it, what it has said."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", "--port", "0", *options],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self.said: list[str] = []
        self._spoke = threading.Event()
        self._listener = threading.Thread(target=self._listen)

    def __enter__(self) -> Service:
        self._listener.start()
        try:
            assert self._spoke.wait(60)
            self.url = re.findall(r"http://\S+", self.said[0])[0]
        except BaseException:
            self.__exit__()
            raise
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._listener.join()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()
        if hasattr(self, "client"):
            self.client.close()

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line)
            self._spoke.set()

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def stop(self) -> int:
        """Its exit code after a SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)
