"""A server on loopback that speaks the part of Google's token service and Drive v3 that uploads need.

Checked as Google documents it: developers.google.com/identity/protocols/oauth2/service-account (the signed JWT),
developers.google.com/drive/api/guides/manage-uploads (multipart, resumable), .../guides/create-file (ids taken
beforehand, 409), .../guides/properties (124 bytes each, 30 a file).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.sinks.loopback import Fault, LoopbackServer

ACCOUNT = "bench@project.iam.gserviceaccount.com"
ACCESS_TOKEN = "ya29.not-a-real-access-token"
SHARED = "shared-folder-id"
_HAS = re.compile(r"appProperties has \{ key='(\w+)' and value='(\w+)' \} and trashed = false")
_Answer = tuple[int, dict[str, str], bytes]


@dataclass
class DriveServer(LoopbackServer):
    """Drive as far as it is needed. `files` by id; `problems`: what was wrong with requests; `calls` in order.

    What may fail: token, ids, list, get, folder, multipart, start, piece.
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    lagging: bool = False  # a search does not find what was made since
    kill: Any = None  # what -> (pid, whether the request is done first), or None

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._ids: set[str] = set()
        self._uploads: dict[str, dict[str, Any]] = {}
        self.listen(type("Handler", (_Handler,), {"drive": self}))

    @property
    def base_url(self) -> str:
        return self.origin

    def key_file(self, folder: Path, **changed: str) -> Path:
        """Write the account's key as Google gives it out, its token service being this server."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        known = {"type": "service_account", "client_email": ACCOUNT, "private_key": pem.decode()}
        known |= {"private_key_id": "k1", "token_uri": f"{self.base_url}/token", "project_id": "p"}
        path = folder / "service account.json"
        path.write_text(json.dumps({**known, **changed}))
        return path

    def tree(self) -> dict[str, bytes]:
        """Return what is in the shared folder: content by path; a folder's path ends with a slash."""
        return {self._path(file): file.get("content", b"") for file in self.files.values()}

    def count(self, what: str) -> int:
        return self.calls.count(what)

    def answer(self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes) -> Any:
        """Return the answer, None where there is to be none."""
        what, done = self._route(method, path, query, headers, body)
        with self._lock:
            self.calls.append(what)
            doomed = self.kill(f"{what} {method}") if self.kill and what != "token" else None
            waiting = self.faults.get(what)
            fault = waiting.pop(0) if waiting else None
            answer: _Answer | None = None
            if doomed and not doomed[1]:
                os.kill(doomed[0], signal.SIGKILL)
                return None
            if fault and not fault.takes:
                more = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                error = {"code": fault.status, "message": "no", "errors": [{"reason": fault.error}]}
                answer = (fault.status, more, json.dumps({"error": error}).encode())
            elif what != "token" and headers.get("Authorization") != f"Bearer {ACCESS_TOKEN}":
                answer = _json(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
            else:
                answer = done()
            if doomed:
                os.kill(doomed[0], signal.SIGKILL)
        if fault and fault.holds:
            self._released.wait(30)
        if doomed or (fault and (fault.drops or fault.holds)):
            return None
        return (fault.status, answer[1], answer[2]) if fault and fault.takes and fault.status else answer

    def _route(self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes) -> Any:
        kind = query.get("uploadType", "")
        file_id = path.rpartition("/")[2]
        if path == "/token":
            return "token", lambda: self._token(body)
        if path == "/drive/v3/files/generateIds":
            return "ids", lambda: self._generate(int(query["count"]))
        if path == "/drive/v3/files":
            folder = lambda: self._create(json.loads(body), None)  # noqa: E731
            return ("folder", folder) if method == "POST" else ("list", lambda: self._list(query))
        if path.startswith("/drive/v3/files/"):
            return "get", lambda: self._get(file_id)
        if kind == "multipart":
            return "multipart", lambda: self._multipart(file_id if method == "PATCH" else "", headers, body)
        if kind == "resumable":
            return "start", lambda: self._start(file_id if method == "PATCH" else "", headers, body)
        return "piece", lambda: self._piece(path, headers, body)

    def _token(self, body: bytes) -> _Answer:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        signed, _, signature = form["assertion"].rpartition(".")
        padded = [part + "=" * (-len(part) % 4) for part in (*signed.split("."), signature)]
        claims = json.loads(base64.urlsafe_b64decode(padded[1]))
        self._key.public_key().verify(
            base64.urlsafe_b64decode(padded[2]), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer" or claims["iss"] != ACCOUNT:
            self.problems.append("wrong assertion")
        if (
            claims["aud"] != "https://oauth2.googleapis.com/token"
            or not claims["iat"] <= time.time() + 60 < claims["exp"]
        ):
            self.problems.append("wrong claims")
        return _json(200, {"access_token": ACCESS_TOKEN, "expires_in": 3600, "token_type": "Bearer"})

    def _generate(self, count: int) -> _Answer:
        new = [f"file{len(self._ids) + number}" for number in range(count)]
        self._ids.update(new)
        return _json(200, {"ids": new, "space": "drive"})

    def _list(self, query: dict[str, str]) -> _Answer:
        match = _HAS.fullmatch(query["q"])
        if not match or {"supportsAllDrives", "includeItemsFromAllDrives"} - set(query):
            self.problems.append(f"list: {query}")
            return _json(400, {"error": {"code": 400, "message": "Invalid Value"}})
        found = [f for f in self.files.values() if f.get("appProperties", {}).get(match[1]) == match[2]]
        found = [] if self.lagging else found
        start = int(query.get("pageToken", "0"))
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}
        return _json(200, {"files": [_known(file) for file in found[start : start + 2]], **more})

    def _get(self, file_id: str) -> _Answer:
        return _json(200, _known(self.files[file_id])) if file_id in self.files else _json(404, _error(404))

    def _create(self, metadata: dict[str, Any], content: bytes | None) -> _Answer:
        self._check(metadata)
        if metadata["id"] in self.files:
            return _json(409, _error(409))
        if metadata["parents"][0] not in (SHARED, *self.files):
            return _json(404, _error(404))
        self.files[metadata["id"]] = metadata | ({} if content is None else {"content": content})
        return _json(200, _known(self.files[metadata["id"]]))

    def _check(self, metadata: dict[str, Any]) -> None:
        properties = metadata.get("appProperties", {})
        if metadata.get("id") not in self._ids or len(metadata.get("parents", ())) != 1:
            self.problems.append(f"create: {metadata}")
        if len(properties) > 30 or any(len(f"{key}{value}".encode()) > 124 for key, value in properties.items()):
            self.problems.append(f"properties: {properties}")

    def _store(self, file_id: str, metadata: dict[str, Any], content: bytes) -> _Answer:
        if not file_id:
            return self._create(metadata, content)
        if file_id not in self.files or {"id", "parents"} & set(metadata):
            self.problems.append(f"update: {metadata}")
            return _json(403, _error(403))
        self.files[file_id].update(metadata, content=content)
        return _json(200, _known(self.files[file_id]))

    def _multipart(self, file_id: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        boundary = headers["Content-Type"].removeprefix("multipart/related; boundary=").encode()
        _, first, rest = body.split(b"--" + boundary + b"\r\n", 2)
        content = rest.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--" + boundary + b"--\r\n")
        if len(content) > 5 * 1024**2:
            self.problems.append("multipart upload too large")
        return self._store(file_id, json.loads(first.partition(b"\r\n\r\n")[2]), content)

    def _start(self, file_id: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        metadata, size = json.loads(body), int(headers["X-Upload-Content-Length"])
        if not file_id and metadata["id"] in self.files:
            return _json(409, _error(409))
        path = f"/upload/session/{len(self._uploads)}"
        self._uploads[path] = {"file": file_id, "metadata": metadata, "size": size, "content": b"", "done": None}
        return 200, {"Location": self.base_url + path}, b""

    def _piece(self, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        upload = self._uploads.get(path)
        if upload is None:
            return _json(404, _error(404))
        place = headers["Content-Range"].removeprefix("bytes ").partition("/")[0]
        if body and not upload["done"]:
            start, end = map(int, place.split("-"))
            whole = end + 1 == upload["size"]
            if start != len(upload["content"]) or (not whole and len(body) % (256 * 1024)):
                self.problems.append(f"piece {place} after {len(upload['content'])} bytes")
            upload["content"] += body
        if len(upload["content"]) == upload["size"]:
            upload["done"] = upload["done"] or self._store(upload["file"], upload["metadata"], upload["content"])
            return upload["done"]
        sent = len(upload["content"])
        return 308, {"Range": f"bytes=0-{sent - 1}"} if sent else {}, b""

    def forget_uploads(self) -> None:
        self._uploads.clear()

    def _path(self, file: dict[str, Any]) -> str:
        parent = file["parents"][0]
        above = "" if parent == SHARED else self._path(self.files[parent])
        return f"{above}{file['name']}{'' if 'content' in file else '/'}"


def _json(status: int, document: dict[str, Any]) -> _Answer:
    return status, {}, json.dumps(document).encode()


def _error(code: int) -> dict[str, Any]:
    return {"error": {"code": code, "message": f"status {code}"}}


def _known(file: dict[str, Any]) -> dict[str, Any]:
    md5 = {"md5Checksum": hashlib.md5(file["content"]).hexdigest()} if "content" in file else {}
    return {"id": file["id"], "appProperties": file.get("appProperties", {}), **md5}


class _Handler(BaseHTTPRequestHandler):
    drive: DriveServer  # and HTTP/1.0: no connection outlives an outage

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or "0"))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answer = self.drive.answer(self.command, parts.path, query, self.headers, body)
        if answer is None:
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = _any

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
