"""Nothing that a client sends, or fails to send, hurts the service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

import cli
from solver.serve.run import listen
from tests.serving import Service

FINE = {"target": "20M", "vram": "24GB", "top": 1}
SLOW = {"vram": "640GB", "vocab": "1000:20000:1000", "prefer": "balanced", "micro_batch": "max"}
"""Twenty lattices without a target, each shape timed at every micro-batch: many seconds."""

BOUNDED = ("--workers=1", "--max-lattice=1000T", "--max-seconds=1", "--max-client-seconds=1", "--max-requests=2")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(*BOUNDED) as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(service: Service) -> Iterator[None]:
    """Whatever a test did, the next client is answered."""
    yield
    deadline = time.monotonic() + 30
    while (response := service.post("/v1/solve", FINE)).status_code in (429, 503):  # a worker starts, a query ends
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert response.json()["status"] == "solved"
    assert service.process.poll() is None


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=30)


def head(length: int, path: str = "/v1/solve") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def everything(connection: socket.socket) -> bytes:
    """What the service sends until it closes."""
    received = b""
    with connection:
        while data := connection.recv(65536):
            received += data
    return received


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    values: dict[str, Any] = response.json()
    assert values["status"] == status
    return values


# bodies


def test_too_large(service: Service) -> None:
    response = service.client.post("/v1/solve", content=b" " * 3_000_000, headers={"Content-Type": "application/json"})
    assert "1,048,576 bytes" in problem(response, 413)["detail"]


def test_too_large_in_pieces_without_a_length(service: Service) -> None:
    pieces = (b" " * 100_000 for _ in range(30))
    response = service.client.post("/v1/solve", content=pieces, headers={"Content-Type": "application/json"})
    problem(response, 413)


def test_far_too_large_is_not_read_to_its_end(service: Service) -> None:
    connection = connect(service)
    connection.sendall(head(10**12))
    with connection, pytest.raises(OSError, match=r"reset|pipe|aborted"):
        ask_for_ever(connection, b" " * 100_000)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_not_said_to_be_json(service: Service, kind: str) -> None:
    """So no form of another site's page reaches it without asking first."""
    response = service.client.post("/v1/solve", content=b"{}", headers={"Content-Type": kind} if kind else {})
    assert problem(response, 415)["field"] == "Content-Type"


@pytest.mark.parametrize(
    "body", [b"", b"[" * 500_000, b'{"target":' * 50_000, b'"\\ud800"', b'{"\\u0000":1}', b"-" * 99]
)
def test_malformed(service: Service, body: bytes) -> None:
    response = service.client.post("/v1/solve", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.json()["detail"]


# clients that are slow, silent or gone


def test_a_head_that_never_ends(service: Service) -> None:
    connection = connect(service)
    connection.sendall(b"POST /v1/solve HTTP/1.1\r\nHost: x\r\n")
    assert everything(connection).startswith(b"HTTP/1.1 408")


def test_a_connection_that_says_nothing(service: Service) -> None:
    assert everything(connect(service)).startswith(b"HTTP/1.1 408")


def test_a_head_that_drips(service: Service) -> None:
    connection = connect(service)
    received = b""
    with connection:
        for _ in range(100):
            try:
                connection.sendall(b"\r\n")
            except OSError:
                break
            connection.settimeout(0.1)
            try:
                received += connection.recv(1000)
            except TimeoutError:
                continue
            if received:
                break
    assert received.startswith(b"HTTP/1.1 408")


def test_a_body_that_never_ends(service: Service) -> None:
    connection = connect(service)
    connection.sendall(head(100) + b'{"target"')
    answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body did not arrive within 1 s" in answer


def test_headers_without_end(service: Service) -> None:
    connection = connect(service)
    connection.sendall(b"GET / HTTP/1.1\r\n")
    with connection, pytest.raises(OSError, match=r"reset|pipe|aborted"):
        ask_for_ever(connection, b"X: %b\r\n" % (b"x" * 1000))


def test_a_client_that_leaves_before_it_is_answered(service: Service) -> None:
    for _ in range(20):
        with connect(service) as connection:
            connection.sendall(head(len(json.dumps(FINE))) + json.dumps(FINE).encode())
        with connect(service) as connection:
            connection.sendall(head(50) + b'{"tar')


def test_a_client_that_does_not_read(service: Service) -> None:
    body = json.dumps({"target": "500M", "top": 2000}).encode()  # an answer of 64 kB
    connection = connect(service)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    with connection, pytest.raises(OSError, match=r"reset|pipe|aborted"):
        ask_for_ever(connection, head(len(body), "/v1/band") + body)


def ask_for_ever(connection: socket.socket, request: bytes) -> None:
    """Until the service gives up on us, or half a minute."""
    deadline = time.monotonic() + 30
    connection.sendall(request * 200)
    while time.monotonic() < deadline:
        connection.sendall(request)
        time.sleep(0.05)


def test_more_connections_than_it_keeps(service: Service) -> None:
    crowd = [connect(service) for _ in range(600)]
    refused = crowd[-1].recv(1000)
    for connection in crowd:
        connection.close()
    assert refused.startswith(b"HTTP/1.1 503")


# queries that are too much


def test_a_query_that_takes_too_long(service: Service) -> None:
    response = service.post("/v1/solve", SLOW)
    assert "not answered within 1 s" in problem(response, 503)["detail"]


def test_a_query_that_takes_too_much_memory(service: Service) -> None:
    response = service.post("/v1/solve", {"target": "1B", "vocab": "1:16777216:1"})
    problem(response, 503)


def test_too_many_at_once(service: Service) -> None:
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(httpx.post(f"{service.url}/v1/solve", json=SLOW)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {response.status_code for response in answers} == {429, 503}
    refused = [response for response in answers if response.status_code == 429]
    assert all(response.headers["retry-after"] == "1" for response in refused)
    assert "2 requests" in problem(refused[0], 429)["detail"]


# around every answer


@pytest.mark.parametrize("path", ["/", "/healthz", "/nosuch", "/v1/solve", "/v1/devices"])
def test_security_headers(service: Service, path: str) -> None:
    headers = service.client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_no_other_site_is_let_in(service: Service) -> None:
    response = service.client.get("/v1/devices", headers={"Origin": "http://example.org"})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/solve", 405), ("POST", "/", 405), ("GET", "/x", 404)]
)
def test_what_is_not_there(service: Service, method: str, path: str, status: int) -> None:
    problem(service.client.request(method, path), status)


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/__init__.py"])
def test_no_file_but_the_pages(service: Service, path: str) -> None:
    connection = connect(service)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert everything(connection).startswith(b"HTTP/1.1 404")


def test_the_log_has_a_line_for_every_request(service: Service) -> None:
    id = service.client.get("/healthz").headers["x-request-id"]
    deadline = time.monotonic() + 10
    while not (found := [line for line in service.said if id in line]) and time.monotonic() < deadline:
        time.sleep(0.05)
    line = json.loads(found[0])
    assert (line["method"], line["path"], line["status"]) == ("GET", "/healthz", 200)
    assert all(json.loads(line) for line in service.said[1:])


def test_verifies_nothing_unless_allowed(service: Service) -> None:
    assert "--allow-verify" in problem(service.post("/v1/verify", {"files": ["diy-3m"]}), 403)["detail"]
    assert "/v1/verify" not in service.client.get("/openapi.json").json()["paths"]


# a service with a token, another site, and verification


@pytest.fixture(scope="module")
def open_service() -> Iterator[Service]:
    options = ("--workers=1", "--quiet", "--allow-verify", "--allow-origin=http://example.org")
    with Service(*options, environment={"DIYSOLVE_TOKEN": "s3cret"}) as running:
        running.client.headers["Authorization"] = "Bearer s3cret"
        yield running


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer s3crett", "Bearer \xe9"])
def test_without_the_token(open_service: Service, given: str) -> None:
    response = open_service.post("/v1/solve", FINE, headers={"Authorization": given.encode("latin-1")})
    problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{open_service.url}/healthz").status_code == 200


def test_with_the_token(open_service: Service) -> None:
    assert open_service.post("/v1/solve", FINE).status_code == 200
    assert "s3cret" not in "".join(open_service.said)


def test_the_site_that_is_let_in(open_service: Service) -> None:
    asked = {"Origin": "http://example.org", "Access-Control-Request-Method": "POST"}
    response = httpx.options(f"{open_service.url}/v1/solve", headers=asked)
    assert response.headers["access-control-allow-origin"] == "http://example.org"
    stranger = httpx.options(f"{open_service.url}/v1/solve", headers={**asked, "Origin": "http://example.com"})
    assert "access-control-allow-origin" not in stranger.headers


def ended(service: Service, url: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (job := service.client.get(url).json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    return job


def test_jobs_one_after_the_other(open_service: Service) -> None:
    body = {"files": ["diy-3m", {"num_layers": 1}], "device": "meta"}
    responses = [open_service.post("/v1/verify", body) for _ in range(3)]
    assert [response.status_code for response in responses] == [202] * 3
    first, second, third = (response.headers["location"] for response in responses)
    assert open_service.client.delete(second).json()["state"] == "cancelled"
    states = [open_service.client.get(url).json()["state"] for url in (first, third)]
    assert states != ["running", "running"]
    job = ended(open_service, first)
    assert (job["state"], job["done"], job["of"], job["problem"]) == ("done", 2, 2, None)
    verified = job["answer"]["configs"]
    assert [one["source"] for one in verified] == ["diy-3m", "files[1]"]
    assert all(one["verification"]["params"]["equal"] for one in verified)
    assert open_service.client.delete(third).json()["state"] in ("cancelled", "done")
    assert open_service.client.get(second).json()["answer"] is None


def test_a_job_that_cannot_be(open_service: Service) -> None:
    assert problem(open_service.post("/v1/verify", {"files": ["nosuch"]}), 422)["field"] == "file"
    assert problem(open_service.client.get("/v1/jobs/nosuch"), 404)
    response = open_service.post("/v1/verify", {"files": ["diy-3m"], "device": "mps"})
    job = ended(open_service, response.headers["location"])
    assert job["state"] == "failed"
    assert "is not here" in job["problem"]["detail"]


# starting and stopping


def test_what_is_being_answered_is_answered_before_the_end() -> None:
    with Service("--workers=1", "--quiet") as service:
        service.client.get("/healthz")  # the connection is there
        answers: list[httpx.Response] = []
        query = {"vram": "24GB", "vocab": "1000:3000:1000"}  # a second or so
        asked = threading.Thread(target=lambda: answers.append(service.post("/v1/solve", query)))
        asked.start()
        time.sleep(0.5)  # it is on its way
        code = service.stop()
        asked.join()
    assert code == 0
    assert answers[0].json()["status"] == "solved"


def refused(*arguments: str) -> str:
    """The sentence with which `diysolve serve` does not start."""
    result = CliRunner().invoke(cli.cli, ["serve", *arguments], prog_name="diysolve")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_port_that_is_taken(service: Service) -> None:
    sentence = refused("--port", str(service.port))
    assert re.fullmatch(
        r"Error: port=\d+: cannot be listened on at 127\.0\.0\.1 \(.+\); try another --port\n", sentence
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--host", "no.such.host.invalid"), "host='no.such.host.invalid': cannot be found"),
        (("--port", "70000"), "port='70000'"),
        (("--max-body", "1"), "max_body='1': a unit is missing"),
        (("--max-seconds", "0"), "max_seconds=0.0"),
        (("--max-client-seconds", "nan"), "max_client_seconds=nan"),
        (("--token-file", "/no/such/file"), "token_file='/no/such/file': cannot be read"),
        (("--token-file", os.devnull), "is empty"),
    ],
)
def test_a_service_that_cannot_be(arguments: tuple[str, ...], complaint: str) -> None:
    assert complaint in refused(*arguments)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'diysolve[serve]'" in refused()


def test_an_answer_is_sent_at_once_and_not_when_the_client_has_acknowledged_its_head() -> None:
    """Held back by Nagle's algorithm, the body of an answer comes 40 ms after its head."""
    options: list[int] = []

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def connect_once() -> None:
        with listen("127.0.0.1", 0) as listener:
            server = await asyncio.get_running_loop().create_server(Connection, sock=listener)
            async with server:
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                await reader.read()
                writer.close()
                await writer.wait_closed()

    asyncio.run(connect_once())
    assert len(options) == 1
    assert options[0] != 0
