"""The manifest of an output folder: what became of every object, stage by stage, in one SQLite file.

Runs on any number of machines share it. A run claims objects in small batches; a claim is a lease that its owner
renews, so what a dead run held can be claimed again: at once where it died on this machine, else when the lease is
over (clocks of machines should agree within a minute). The folder itself stays the truth: see `claims.reconcile`.

A rollback journal rather than write-ahead logging, which needs memory that processes share and so fails on NFS.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from one2345.errors import InputError, One2345Error
from one2345.files import aside_name, is_abandoned

MANIFEST = "manifest.sqlite"
STAGES = ("download", "render", "predict", "pack")
STATES = ("waiting", "claimed", "done", "failed", "rejected")
State = Literal["waiting", "claimed", "done", "failed", "rejected"]

LEASE = 600.0
"""Seconds for which a claim holds without being renewed; it is renewed every quarter of that."""

_APPLICATION, _VERSION = 0x12345, 1
_PATIENCE = 120.0  # seconds for which a locked file is waited for
_SCHEMA = f"""
CREATE TABLE work (
    stage TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, licence TEXT,
    bytes INTEGER, hash TEXT, seconds REAL, worker TEXT, lease REAL, changed REAL NOT NULL,
    policy TEXT, maker TEXT, made INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (stage, id)
) WITHOUT ROWID;
CREATE INDEX by_state ON work (stage, state);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""
_AMONG = "id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class Row:
    """One object in one stage.

    seconds: that it took. worker: who holds or held the claim (host, process, random). lease, changed: seconds
    since 1970; until when the claim holds, when the row last changed. policy: what a rejection depends on.
    maker, made: who made what is there, and how often it was made.
    """

    stage: str
    id: str
    state: State
    reason: str | None
    licence: str | None
    bytes: int | None
    hash: str | None
    seconds: float | None
    worker: str | None
    lease: float | None
    changed: float
    policy: str | None
    maker: str | None
    made: int

    @property
    def free(self) -> bool:
        """Whether no living run holds it."""
        if self.state != "claimed":
            return True
        return (self.lease or 0.0) < time.time() or (self.worker is not None and is_abandoned(self.worker))


@dataclass(frozen=True)
class Content:
    """What an object's files are: how much, under which licence, and the hash of `content_of`."""

    bytes: int
    hash: str | None = None
    licence: str | None = None
    seconds: float | None = None


def content_of(folder: Path, *, licence: str | None = None, seconds: float | None = None) -> Content:
    """Size of all files under `folder`, and the sha256 over their relative names and bytes, in order of name."""
    digest, size = hashlib.sha256(), 0
    for name, file in sorted((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file()):
        data = file.read_bytes()
        digest.update(f"{len(name.encode())} {name} {len(data)} ".encode())
        digest.update(data)
        size += len(data)
    return Content(size, digest.hexdigest(), licence, seconds)


class Ledger:
    """The manifest of `root`; made where it is missing, unless `create` is false. One instance is one worker.

    Raises InputError when there is none, it is damaged, of another program or of another version.
    """

    def __init__(self, root: Path | str, *, create: bool = True) -> None:
        self.file = Path(root) / MANIFEST
        self.worker = aside_name()
        self._create = create
        if not create and not self.file.is_file():
            raise InputError(f"{root}: holds no {MANIFEST}; prepare.py makes it with the first object")
        with self._transaction(write=False) as db:
            new = self._is_new(db)
        if new:
            if not create:
                raise InputError(
                    f"{self.file}: is empty; the next run of prepare.py fills it from the folder"
                )
            with self._transaction() as db:
                if self._is_new(db):
                    for statement in _SCHEMA.split(";"):
                        db.execute(statement)

    def add(self, stage: str, ids: Sequence[str]) -> None:
        """Have the objects wait in `stage`; those that it knows stay as they are."""
        if stage not in STAGES:
            raise ValueError(f"{stage!r} is no stage; there are {', '.join(STAGES)}")
        with self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO work (stage, id, state, changed) VALUES (?, ?, 'waiting', ?)",
                [(stage, id, time.time()) for id in ids],
            )

    def claim(
        self,
        stage: str,
        count: int,
        *,
        lease: float,
        ids: Sequence[str] | None = None,
        failed_before: float | None = None,
        policy: str | None = None,
    ) -> list[str]:
        """Up to `count` objects (of `ids`, in their order), from now for `lease` seconds this worker's alone.

        Taken are those that wait, those whose claim is over or whose worker is dead, those that failed before
        `failed_before` (seconds since 1970; None: not at all) and those rejected under another `policy`.
        """
        now = time.time()
        with self._transaction() as db:
            rows = _select(db, stage, ids, f" AND {_OPEN}", (failed_before, policy, policy))
            mine = [row.id for row in rows if row.free][: max(0, count)]
            db.execute(
                f"UPDATE work SET state='claimed', worker=?, lease=?, changed=?, reason=NULL "
                f"WHERE stage=? AND {_AMONG}",
                (self.worker, now + lease, now, stage, json.dumps(mine)),
            )
        return mine

    def renew(self, stage: str, lease: float) -> None:
        """All claims of this worker hold for `lease` seconds from now."""
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET lease=? WHERE stage=? AND state='claimed' AND worker=?",
                (time.time() + lease, stage, self.worker),
            )

    def release(self, stage: str) -> None:
        """What this worker claimed and did not end waits again."""
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET state='waiting', lease=NULL, changed=? "
                "WHERE stage=? AND state='claimed' AND worker=?",
                (time.time(), stage, self.worker),
            )

    def finish(self, stage: str, id: str, content: Content, *, made: bool = True) -> None:
        """The object is there. made: by this worker just now; else it was found complete."""
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET state='done', reason=NULL, lease=NULL, policy=NULL, changed=?, licence=?, "
                "bytes=?, hash=?, seconds=coalesce(?, seconds), maker=CASE WHEN ? THEN ? ELSE maker END, "
                "made=CASE WHEN ? THEN made + 1 ELSE max(made, 1) END WHERE stage=? AND id=?",
                (time.time(), content.licence, content.bytes, content.hash, content.seconds, made,
                 self.worker, made, stage, id),
            )  # fmt: skip

    def fail(self, stage: str, id: str, reason: str, *, seconds: float | None = None) -> None:
        """The object could not be made; a later run tries again. Nothing where the claim has gone to another."""
        self._end(stage, id, "failed", reason, seconds, None)

    def reject(self, stage: str, id: str, reason: str, *, policy: str | None = None) -> None:
        """A filter refused the object; it is tried again only under another `policy`."""
        self._end(stage, id, "rejected", reason, None, policy)

    def adopt(self, stage: str, id: str, content: Content) -> None:
        """The object was found complete although the manifest did not say so; a living run's claim stays."""
        with self._transaction() as db:
            rows = _select(db, stage, [id])
            if rows and not rows[0].free:
                return
            maker = rows[0].maker or rows[0].worker if rows else None
            made = max(1, rows[0].made if rows else 0)
            now = time.time()
            db.execute(
                "INSERT OR REPLACE INTO work (stage, id, state, licence, bytes, hash, seconds, worker, changed, "
                "maker, made) VALUES (?, ?, 'done', ?, ?, ?, ?, ?, ?, ?, ?)",
                (stage, id, content.licence, content.bytes, content.hash,
                 content.seconds, maker, now, maker, made),
            )  # fmt: skip

    def reopen(self, stage: str, ids: Sequence[str], *, before: float) -> None:
        """What is done since `before` (seconds since 1970) or earlier, but not there any more, waits again."""
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET state='waiting', made=0, maker=NULL, changed=? "
                f"WHERE stage=? AND state='done' AND changed < ? AND {_AMONG}",
                (time.time(), stage, before, json.dumps(list(ids))),
            )

    def rows(
        self, stage: str, *, ids: Sequence[str] | None = None, states: Sequence[State] = STATES
    ) -> list[Row]:
        """The objects of a stage that are in one of `states`, in the order of `ids`, else of id."""
        marks = ",".join("?" * len(states))
        with self._transaction(write=False) as db:
            return _select(db, stage, ids, f" AND state IN ({marks})", tuple(states))

    def counts(self, stage: str) -> dict[State, int]:
        """How many objects are in each state."""
        with self._transaction(write=False) as db:
            found = dict(
                db.execute(
                    "SELECT state, count(*) FROM work WHERE stage=? GROUP BY state", (stage,)
                ).fetchall()
            )
        return {state: found.get(state, 0) for state in STATES}

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT over the table `work`."""
        with self._transaction(write=False) as db:
            return db.execute(sql, values).fetchall()

    @contextmanager
    def holding(self, stage: str, lease: float = LEASE) -> Iterator[None]:
        """Renew this worker's claims from a thread while the block runs; release them when it ends."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(lease / 4):
                with suppress(One2345Error):  # the next turn may find the file again; a claim holds for four
                    self.renew(stage, lease)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.release(stage)

    def _end(
        self, stage: str, id: str, state: State, reason: str, seconds: float | None, policy: str | None
    ) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET state=?, reason=?, seconds=?, policy=?, lease=NULL, changed=? "
                "WHERE stage=? AND id=? AND state='claimed' AND worker=?",
                (state, reason, seconds, policy, time.time(), stage, id, self.worker),
            )

    def _is_new(self, db: sqlite3.Connection) -> bool:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application, version, tables) == (0, 0, 0):
            return True
        if application != _APPLICATION:
            raise InputError(f"{self.file}: is a database of another program; choose another folder")
        if version != _VERSION:
            raise InputError(
                f"{self.file}: is of version {version}, this program reads {_VERSION}; delete it, and the next "
                "run of prepare.py makes it anew from the folder"
            )
        return False

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: threads and processes share none."""
        uri = f"{self.file.absolute().as_uri()}?mode={'rwc' if self._create else 'rw' if write else 'ro'}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
        except sqlite3.OperationalError as error:
            raise InputError(f"{self.file}: can't be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.file}: is damaged or no manifest ({error}); delete it, and the next run of prepare.py "
                "makes it anew from the folder"
            ) from error


_OPEN = (
    "(state='waiting' OR state='claimed' OR (state='failed' AND changed < ?) "
    "OR (state='rejected' AND policy IS NOT ? AND ? IS NOT NULL))"
)
_COLUMNS = ", ".join(Row.__dataclass_fields__)


def _select(
    db: sqlite3.Connection, stage: str, ids: Sequence[str] | None, also: str = "", values: Sequence[Any] = ()
) -> list[Row]:
    among = "" if ids is None else f" AND {_AMONG}"
    given = () if ids is None else (json.dumps(list(ids)),)
    sql = f"SELECT {_COLUMNS} FROM work WHERE stage=?{also}{among} ORDER BY id"
    rows = [Row(*values) for values in db.execute(sql, (stage, *values, *given))]
    if ids is None:
        return rows
    place = {id: n for n, id in enumerate(ids)}
    return sorted(rows, key=lambda row: place[row.id])


def failures(root: Path | str, stage: str) -> dict[str, str]:
    """id -> reason of what failed or was rejected in `stage`; empty where `root` has no manifest."""
    if not (Path(root) / MANIFEST).is_file():
        return {}
    rows = Ledger(root, create=False).rows(stage, states=("failed", "rejected"))
    return {row.id: row.reason or "" for row in rows}
