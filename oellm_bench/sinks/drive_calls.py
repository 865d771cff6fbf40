"""Calls to Google Drive's REST API as a service account: folders, files, and uploads that go on where they stopped."""

from __future__ import annotations

import functools
import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oellm_bench.sinks.base import SinkError, TryAgain
from oellm_bench.sinks.drive_files import Content
from oellm_bench.sinks.secrets import unreachable, without

if TYPE_CHECKING:
    from requests import Response

FOLDER = "application/vnd.google-apps.folder"
_SCOPE = "https://www.googleapis.com/auth/drive"  # drive.file does not see a folder that a person has made
_FIELDS = "id,md5Checksum,createdTime,appProperties"
_EVERYWHERE = {"supportsAllDrives": "true"}  # a service account has no room of its own: shared drives only
_SMALL_BYTES = 5 * 1024**2  # developers.google.com/drive/api/guides/manage-uploads: above it, resumable
_CHUNK_BYTES = 32 * 256 * 1024  # a multiple of 256 KiB, says the same page
_LONGEST_REQUEST_S = 60.0
_DEFAULT_WAIT_S = 5.0
_LIMITS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded"})
_ADVICE = {
    401: "see that the service account's key is still valid",
    403: "share the folder with the service account as content manager; it has to be in a shared drive",
    404: "see drive_folder_id, and share the folder with the service account",
}


class Exists(SinkError):
    """There is a file of that id already."""


class Missing(SinkError):
    """There is no such file, folder or upload."""


@dataclass(frozen=True, kw_only=True)
class DriveFile:
    """What Drive knows of a file."""

    id: str
    md5: str
    properties: Mapping[str, str]


class DriveCalls:
    """One service account. Every method raises SinkError with a text that holds no secret.

    An upload in pieces is gone on with by the next call for the same id, as long as this object lives; its address is
    kept in memory only, because whoever has it may write there.
    """

    def __init__(self, key_file: str, base_url: str, timeout_s: float) -> None:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
        from google.oauth2.service_account import Credentials
        from requests import Session

        try:
            self._credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
                key_file, scopes=[_SCOPE]
            )
        except (OSError, ValueError, GoogleAuthError) as err:
            reason = err.strerror if isinstance(err, OSError) and err.strerror else "it is no service account's key"
            raise SinkError(f"{key_file} cannot be used ({reason}); give the JSON key of a service account") from None
        self._session = Session()
        self._for_tokens = Request(self._session)
        self._base_url, self._timeout_s = base_url.rstrip("/"), timeout_s
        self._end = math.inf
        self._uploads: dict[str, tuple[str, str]] = {}

    def begin(self) -> None:
        """Start the time of a delivery."""
        self._end = time.monotonic() + 0.7 * self._timeout_s

    def new_id(self) -> str:
        """Return an id for a file to be made: making it twice is then refused, not done."""
        return str(self._json("GET", "/drive/v3/files/generateIds", {"count": "1", "space": "drive"})["ids"][0])

    def files_with(self, name: str, value: str) -> list[DriveFile]:
        """Return the files with that private property, the oldest first."""
        query = {"q": f"appProperties has {{ key='{name}' and value='{value}' }} and trashed = false"}
        query |= {"fields": f"nextPageToken,files({_FIELDS})", "orderBy": "createdTime", "pageSize": "1000"}
        query |= {"spaces": "drive", "includeItemsFromAllDrives": "true", **_EVERYWHERE}
        return [*self._pages(query)]

    def file(self, file_id: str) -> DriveFile:
        """Return a file by its id. Raises Missing."""
        return _drive_file(self._json("GET", f"/drive/v3/files/{file_id}", {"fields": _FIELDS, **_EVERYWHERE}))

    def make_folder(self, metadata: Mapping[str, Any]) -> None:
        """Make a folder; `metadata` holds id, name, parents and appProperties. Raises Exists."""
        body = {**metadata, "mimeType": FOLDER}
        self._json("POST", "/drive/v3/files", {"fields": _FIELDS, **_EVERYWHERE}, json=body)

    def send(self, metadata: Mapping[str, Any], content: Content, *, replace: bool) -> None:
        """Make a file, or `replace` the content of one. Raises Exists, Missing, TryAgain where there is more to do."""
        file_id = str(metadata["id"])
        small = content.size <= _SMALL_BYTES
        answer = self._whole(metadata, content, replace) if small else self._pieces(metadata, content, replace)
        self._uploads.pop(file_id, None)
        if answer.get("md5Checksum", content.md5) != content.md5:
            raise SinkError(f"{metadata['name']} has changed while it was sent; it is sent again")

    def _whole(self, metadata: Mapping[str, Any], content: Content, replace: bool) -> Mapping[str, Any]:
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{_body(metadata, replace)}\r\n"
        head += f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        data = head.encode() + content.read(0, content.size) + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        return self._json(*self._target(metadata, replace), _upload("multipart"), data=data, headers=headers)

    def _pieces(self, metadata: Mapping[str, Any], content: Content, replace: bool) -> Mapping[str, Any]:
        file_id = str(metadata["id"])
        address, md5 = self._uploads.get(file_id, ("", ""))
        if md5 != content.md5:
            address = self._start_upload(metadata, content, replace)
            self._uploads[file_id] = (address, content.md5)
        try:
            return self._send_pieces(str(metadata["name"]), address, content)
        except Missing:
            del self._uploads[file_id]  # uploads are forgotten after a week
            raise

    def _start_upload(self, metadata: Mapping[str, Any], content: Content, replace: bool) -> str:
        method, path = self._target(metadata, replace)
        headers = {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Length": str(content.size)}
        data = _body(metadata, replace).encode()
        answer = self._request(method, self._base_url + path, params=_upload("resumable"), data=data, headers=headers)
        return str(answer.headers["Location"])

    def _send_pieces(self, name: str, address: str, content: Content) -> Mapping[str, Any]:
        answer = self._put(address, b"", f"bytes */{content.size}")  # how much is there already
        while answer.status_code == 308:
            offset = _received(answer)
            if time.monotonic() > self._end:
                raise TryAgain(f"{name}: {offset} of {content.size} bytes are sent", 0.0)
            piece = content.read(offset, _CHUNK_BYTES)
            if not piece:
                raise SinkError(f"{name} has become shorter while it was sent; it is sent again")
            answer = self._put(address, piece, f"bytes {offset}-{offset + len(piece) - 1}/{content.size}")
        return _document(answer)

    def _put(self, address: str, data: bytes, content_range: str) -> Response:
        return self._request("PUT", address, data=data, headers={"Content-Range": content_range})

    def _target(self, metadata: Mapping[str, Any], replace: bool) -> tuple[str, str]:
        path = "/upload/drive/v3/files"
        return ("PATCH", f"{path}/{metadata['id']}") if replace else ("POST", path)

    def _pages(self, query: dict[str, str]) -> Iterator[DriveFile]:
        while True:
            document = self._json("GET", "/drive/v3/files", query)
            yield from map(_drive_file, document.get("files", ()))
            if not document.get("nextPageToken"):
                return
            query["pageToken"] = document["nextPageToken"]

    def _json(self, method: str, path: str, params: Mapping[str, str], **more: Any) -> Mapping[str, Any]:
        return _document(self._request(method, self._base_url + path, params=params, **more))

    def _request(self, method: str, address: str, **more: Any) -> Response:
        """Make a request, again where Drive's limits say so and there is time. Raises SinkError."""
        renewed = False
        while True:
            if time.monotonic() > self._end:
                raise TryAgain("Google Drive is slow; the rest follows", 0.0)
            answer = self._asked(method, address, **more)
            if answer.status_code == 401 and not renewed:
                self._credentials.token, renewed = None, True
            elif _is_limited(answer):
                self._wait(answer)
            else:
                return _taken(answer)

    def _asked(self, method: str, address: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
        """Make a request once, with a token that is valid."""
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        limit = min(_LONGEST_REQUEST_S, self._timeout_s / 4)
        try:
            # The library's own session also asks Google where the account may be used, on a thread of its own.
            if not self._credentials.valid:
                self._credentials.refresh(functools.partial(self._for_tokens, timeout=limit))
            known = {"Authorization": f"Bearer {self._credentials.token}"}
            return self._session.request(method, address, headers={**known, **(headers or {})}, timeout=limit, **more)
        except RequestException as err:
            raise SinkError(f"Google Drive gave no answer ({type(err).__name__})") from None
        except GoogleAuthError as err:
            raise unreachable("Google's token service", err) from None

    def _wait(self, answer: Response) -> None:
        wait = _seconds(answer.headers.get("Retry-After", ""))
        if time.monotonic() + wait > self._end:
            raise TryAgain(f"Google Drive takes no more requests for {wait:g} s", wait)
        time.sleep(wait)


def _taken(answer: Response) -> Response:
    """Return an answer that is none of no. Raises Exists, Missing, SinkError."""
    status = answer.status_code
    if status < 400:
        return answer
    kind = {404: Missing, 409: Exists}.get(status, SinkError)
    advice = f"; {_ADVICE[status]}" if status in _ADVICE else ""
    raise kind(f"Google Drive answered {status}: {without(_error(answer).get('message', ''))}{advice}")


def _error(answer: Response) -> Mapping[str, Any]:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, Mapping) else {}


def _is_limited(answer: Response) -> bool:
    if answer.status_code != 403:
        return answer.status_code == 429
    reasons = {item.get("reason") for item in _error(answer).get("errors") or () if isinstance(item, Mapping)}
    return bool(reasons & _LIMITS)


def _document(answer: Response) -> Mapping[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, Mapping):
        raise SinkError("Google Drive's answer is no JSON")
    return document


def _drive_file(document: Mapping[str, Any]) -> DriveFile:
    properties = document.get("appProperties") or {}
    return DriveFile(id=str(document["id"]), md5=str(document.get("md5Checksum", "")), properties=properties)


def _body(metadata: Mapping[str, Any], replace: bool) -> str:
    """Return the metadata of an upload; id and parents stand only in that of a new file."""
    fixed = ("id", "parents") if replace else ()
    return json.dumps({name: value for name, value in metadata.items() if name not in fixed})


def _upload(kind: str) -> dict[str, str]:
    return {"uploadType": kind, "fields": _FIELDS, **_EVERYWHERE}


def _received(answer: Response) -> int:
    """Return how many bytes of an upload Drive has; no Range at all is none."""
    first, _, last = answer.headers.get("Range", "").removeprefix("bytes=").partition("-")
    return int(last) + 1 if first == "0" and last.isdigit() else 0


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdigit() else _DEFAULT_WAIT_S
