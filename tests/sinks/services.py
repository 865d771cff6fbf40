"""Real services on loopback, and a proxy that makes them as bad as they can be."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.waiting import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone away: some tests kill them."""


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[Server]:
    server = Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Listener:
    """An HTTP server that keeps the JSON it is posted."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @contextlib.contextmanager
    def open(self) -> Iterator[str]:
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        with serving(Handler) as server:
            yield f"http://127.0.0.1:{server.server_port}/"


class Proxy:
    """Stands in front of a server.

    `mode`: `pass`, a status to answer with, `reset`, `hang`, `lose` the answer, or `503 when done`. `only`: the end of
    the paths that this is about; all others are passed on. `held` is set while a request hangs or its answer is being
    lost. `authorized`: the Authorization headers of all requests.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port, self.port = target_port, free_port()
        self.mode: str | int = "pass"
        self.only = ""
        self.authorized: list[str | None] = []
        self.held, self.let_go = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Proxy]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy._answer(self)

            do_POST = do_PUT = do_PATCH = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        with serving(Handler, self.port):
            try:
                yield self
            finally:
                self.let_go.set()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.authorized.append(request.headers.get("Authorization"))
        mode = self.mode if request.path.split("?")[0].endswith(self.only) else "pass"
        if isinstance(mode, int):
            request.send_response(mode)
            request.send_header("Retry-After", "3600")
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif mode == "hang":
            self._hold(request)
        elif mode != "reset":
            status, headers, answer = self._forwarded(request, body)
            if mode == "lose":
                self._hold(request)
                return
            request.send_response(503 if mode == "503 when done" else status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(answer)
        if mode == "reset":
            request.connection.close()

    def _hold(self, request: BaseHTTPRequestHandler) -> None:
        self.held.set()
        self.let_go.wait(120)
        request.close_connection = True

    def _forwarded(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.target_port, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(request.command, request.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        kept = {"Content-Type": answer.headers.get("Content-Type", ""), "Content-Length": str(len(data))}
        connection.close()
        return answer.status, kept, data


class MlflowServer:
    """A real MLflow server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()

    @contextlib.contextmanager
    def open(self) -> Iterator[MlflowServer]:
        argv = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                argv, stdout=log, stderr=log, env={**os.environ, **quiet}, cwd=self.folder, start_new_session=True
            )
        try:
            wait_until(lambda: self._is_up() or process.poll() is not None, 180)
            assert process.poll() is None, (self.folder / "server.log").read_text()
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                return True
        except OSError:
            return False

    def ask(self, path: str, document: Mapping[str, Any] | None = None) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/2.0/mlflow/{path}"
        data = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as answer:
            return json.load(answer)

    def runs(self, experiment: str) -> dict[str, list[Any]]:
        """Return the runs of an experiment by their name."""
        try:
            found = self.ask(f"experiments/get-by-name?experiment_name={experiment}")
        except urllib.error.HTTPError:
            return {}
        ids = [found["experiment"]["experiment_id"]]
        runs: dict[str, list[Any]] = {}
        for run in self.ask("runs/search", {"experiment_ids": ids}).get("runs", []):
            runs.setdefault(run["info"]["run_name"], []).append(run)
        return runs

    def run(self, experiment: str, name: str) -> Any:
        """Return the only run of that name, its metrics, params and tags as mappings."""
        (run,) = self.runs(experiment)[name]
        data = {
            kind: {item["key"]: item["value"] for item in run["data"].get(kind, [])}
            for kind in ("metrics", "params", "tags")
        }
        return {**run["info"], **data}

    def history(self, run_id: str, metric: str) -> list[Any]:
        return list(self.ask(f"metrics/get-history?run_id={run_id}&metric_key={metric}").get("metrics", []))

    def artifacts(self, run_id: str) -> set[str]:
        return {item["path"] for item in self.ask(f"artifacts/list?run_id={run_id}").get("files", [])}
