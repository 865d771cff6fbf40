"""Google Drive: a folder for each session, in it one for each entry, with the files that matter."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.sinks.base import Sink, SinkConfig
from oellm_bench.sinks.drive_calls import DriveCalls, DriveFile, Exists
from oellm_bench.sinks.drive_files import Content, Upload, chosen, opened
from oellm_bench.sinks.needs import not_installed, unset
from oellm_bench.sinks.receipts import Receipts
from oellm_bench.sinks.secrets import address_problems, name_problems

GOOGLE_API = "https://www.googleapis.com"
_FILES = (
    "results.json",
    "benchmark_results/params.json",
    "benchmark_results/metrics.json",
    "benchmark_results/tasks.json",
    "artifacts/*",
    "attempts/*/exit.json",
)
_LOGS = ("attempts/*/stdout.log", "attempts/*/stderr.log")
_OF_SESSION = ("results.jsonl", "notices.jsonl", "report.html")
_FOLDER = "oellm_bench_folder"
_PART_OF = "oellm_bench_part_of"
_FILE = "oellm_bench_file"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GoogleDriveSinkConfig(SinkConfig):
    """A folder of a shared drive, by a service account that it is shared with."""

    drive_folder_id: str = option("id of the folder that sessions go to: the end of its address")
    service_account_file: str = option("the service account's JSON key; empty: the file that the variable names", "")
    service_account_file_env: str = option("name of the variable with that path", "GOOGLE_APPLICATION_CREDENTIALS")
    upload: tuple[str, ...] = option("files of an entry's folder to send; * and **", _FILES)
    log_tail_bytes: int = option("the end of each attempt's logs to send; 0: none", 65536, unit="bytes")
    max_bytes: int = option("larger files are left out, and named in the log", 1024**3, unit="bytes")
    base_url: str = option("where Google's API is", GOOGLE_API)
    timeout_s: float = option("how long one delivery may take; a large file goes on in the next", 300.0, unit="s")
    drain_s: float = option("how long the end of a session waits for deliveries", 300.0, unit="s")


@dataclass(frozen=True)
class Place:
    """A folder at Drive, and the key of what is in it."""

    key: str
    id: str


@register
class GoogleDriveSink(Sink):
    """Find things again by private properties, and make them under ids taken beforehand, so that each is there once."""

    config: GoogleDriveSinkConfig

    def __init__(self, config: GoogleDriveSinkConfig) -> None:
        self.config = config
        if wrong := [*self._wrong_values()]:
            raise ConfigError(wrong)
        self._root = Path()
        self._calls: DriveCalls
        self._receipts: Receipts
        self._session: Place

    def problems(self) -> Sequence[Problem]:
        """Return what is missing here: the libraries, the key."""
        found = [*not_installed("google.auth", "gdrive"), *not_installed("requests", "gdrive")]
        if not self.config.service_account_file:
            found += unset(self.config.service_account_file_env, "service_account_file_env")
        elif not Path(self._key_file).is_file():
            fix = "give the path of the service account's JSON key"
            found.append(Problem(what=f"{self._key_file} is no file", where="service_account_file", fix=fix))
        return found

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Make the session's folder, or find it again. Raises ConfigError, SinkError."""
        if wrong := self.problems():
            raise ConfigError(wrong)
        self._root = Path(env_data["session_dir"])
        self._calls = DriveCalls(self._key_file, self.config.base_url, self.config.timeout_s)
        self._calls.begin()
        self._receipts = Receipts.of(str(env_data["session_dir"]), str(env_data.get("sink_name", "gdrive")))
        parent = Place("", self.config.drive_folder_id)
        self._session = self._folder(parent, session_name, _session_key(session_name, env_data))

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Send the files of an entry that are not there yet. Raises SinkError."""
        self._calls.begin()
        folder = Path(result.get("entry_dir") or self._root / "entries" / str(result["name"]))
        root = self._root if folder.is_relative_to(self._root) else folder
        place = self._folder(self._session, str(result["name"]), _digest(f"{self._session.key}:{result['id']}"))
        tail = self.config.log_tail_bytes
        logs = chosen(root, folder, _LOGS, tail) if tail else []
        self._send(place, [*chosen(root, folder, self.config.upload), *logs])

    def finalize(self) -> None:
        """Send what there is of the whole session. Raises SinkError."""
        self._calls.begin()
        self._send(self._session, chosen(self._root, self._root, _OF_SESSION))

    @property
    def _key_file(self) -> str:
        named = os.environ.get(self.config.service_account_file_env, "")
        return str(Path(self.config.service_account_file or named).expanduser())

    def _wrong_values(self) -> Iterator[Problem]:
        config = self.config
        yield from name_problems(config.service_account_file_env, "service_account_file_env", "GOOGLE_APPLICATION_...")
        yield from address_problems(config.base_url, "base_url")
        if not config.drive_folder_id:
            yield Problem(what="a folder is missing", where="drive_folder_id", fix="copy the end of its address")
        for pattern in config.upload:
            if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
                yield Problem(what=f"'{pattern}' leads out of the entry", where="upload", fix="give paths inside of it")
        for field, least in (("log_tail_bytes", 0), ("max_bytes", 1)):
            if getattr(config, field) < least:
                yield Problem(what=f"{getattr(config, field)} cannot work", where=field, fix=f"give {least} or more")

    def _folder(self, parent: Place, name: str, key: str) -> Place:
        """Return the folder of that key; two that made it at once settle on the older."""
        record = self._receipts.get(f"folder:{key}") or {}
        if not record.get("made"):
            found = self._calls.files_with(_FOLDER, key)
            if found:
                self._receipts.put(f"folder:{key}", id=found[0].id, made=True)
            else:
                self._make_folder(parent, name, key, str(record.get("id", "")))
        return Place(key, str((self._receipts.get(f"folder:{key}") or {})["id"]))

    def _make_folder(self, parent: Place, name: str, key: str, known_id: str) -> None:
        file_id = known_id or self._calls.new_id()
        self._receipts.put(f"folder:{key}", id=file_id, made=False)
        metadata = {"id": file_id, "name": _name(name), "parents": [parent.id]}
        try:
            self._calls.make_folder({**metadata, "appProperties": {_FOLDER: key}})
        except Exists:
            pass  # by an attempt whose answer was lost
        self._receipts.put(f"folder:{key}", id=file_id, made=True)

    def _send(self, place: Place, uploads: Sequence[Upload]) -> None:
        there: dict[str, DriveFile] | None = None
        for upload in uploads:
            with contextlib.ExitStack() as held:
                content = self._opened(upload, held)
                record = self._receipts.get(self._record(place, upload)) or {}
                if content is not None and record.get("md5") != content.md5:
                    there = self._listed(place) if there is None else there
                    self._put(place, upload, content, there.get(_digest(upload.name)))

    def _opened(self, upload: Upload, held: contextlib.ExitStack) -> Content | None:
        """Open a file for as long as `held` is; None, and a line in the log, for one that is left out."""
        path = upload.root / upload.path
        try:
            content = held.enter_context(opened(upload))
        except OSError as err:
            _log.warning("%s is left out (%s)", path, err.strerror or err)
            return None
        if content.size > self.config.max_bytes:
            _log.warning("%s is left out: it has %d bytes, max_bytes is less", path, content.size)
            return None
        return content

    def _put(self, place: Place, upload: Upload, content: Content, there: DriveFile | None) -> None:
        """Send one file, unless its content is there already."""
        record = self._record(place, upload)
        file_id = there.id if there else str((self._receipts.get(record) or {}).get("id") or self._calls.new_id())
        if there is None or there.md5 != content.md5:
            self._receipts.put(record, id=file_id)
            own = {_PART_OF: place.key, _FILE: _digest(upload.name)}
            metadata = {"id": file_id, "name": _name(upload.name), "parents": [place.id], "appProperties": own}
            self._send_new(metadata, content) if there is None else self._calls.send(metadata, content, replace=True)
        self._receipts.put(record, id=file_id, md5=content.md5)

    def _send_new(self, metadata: Mapping[str, Any], content: Content) -> None:
        try:
            self._calls.send(metadata, content, replace=False)
        except Exists:  # by an attempt whose answer was lost; what it sent may be older
            if self._calls.file(str(metadata["id"])).md5 != content.md5:
                self._calls.send(metadata, content, replace=True)

    def _listed(self, place: Place) -> dict[str, DriveFile]:
        """Return what is in a folder, by the digest of its path; of two with the same path the older."""
        found = self._calls.files_with(_PART_OF, place.key)
        return {file.properties.get(_FILE, ""): file for file in reversed(found)}

    def _record(self, place: Place, upload: Upload) -> str:
        return f"file:{place.key}:{upload.name}"


def _session_key(session_name: str, env_data: Mapping[str, Any]) -> str:
    """Return the key of this very session: names repeat, from night to night and from cluster to cluster."""
    return _digest(f"{session_name}:{env_data.get('session8', '')}:{env_data['created_at']}")


def _digest(text: str) -> str:
    """Return a name of 32 characters for any text: a property of Drive's holds 124 bytes, key and value together."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]


def _name(text: str) -> str:
    return "".join(character if character.isprintable() else "_" for character in text)[:500]
