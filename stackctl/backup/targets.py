"""Second copies of the snapshots: on another host by rsync over ssh, or in a restic repository.

Hard links share what did not change, so one damaged sector damages it in every snapshot; a copy elsewhere has its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stackctl import process
from stackctl.backup.events import Events, quiet
from stackctl.backup.manifest import HEADER
from stackctl.backup.repository import Repository, Snapshot
from stackctl.errors import MissingPrerequisite, StackctlError
from stackctl.stack.backup_settings import BackupSettings

SSH_KEY = "backup_ssh_key"
KNOWN_HOSTS = "backup_known_hosts"
RESTIC_PASSWORD = "restic_password"  # noqa: S105 - a file's name
RESTIC_CREDENTIALS = "restic_credentials"
CONNECT_SECONDS = 15
SILENT_SECONDS = 60
_REMOTE = re.compile(r"(?P<host>[^:]+)(?::(?P<port>\d+))?:(?P<folder>/.*)")


class Copy(Protocol):
    """A second copy of the repository."""

    def send(self, repository: Repository, events: Events = quiet) -> list[str]:
        """Copy the snapshots that are not there yet and return their ids; what breaks off goes on the next time."""

    def prune(self, repository: Repository, events: Events = quiet) -> list[str]:
        """Delete there what was deleted here on purpose and return it; what was lost here is kept there."""


def of(settings: BackupSettings, name: str, secrets: Path | None = None) -> list[Copy]:
    """Return the second copies that the settings ask for; ``secrets`` is where their keys lie."""
    folder = secrets or Path(os.environ.get("STACKCTL_SECRETS") or "/run/secrets")
    found: list[Copy] = []
    if settings.copies.rsync:
        found.append(SshCopy.parse(settings.copies.rsync, folder))
    if settings.copies.restic:
        found.append(ResticCopy(settings.copies.restic, name, folder))
    return found


@dataclass(frozen=True)
class SshCopy:
    """Snapshots in a folder of another host, reached by rsync over ssh.

    A snapshot there is complete once it has its header: that is sent last. Only rsync has to be allowed there.
    """

    host: str
    folder: str
    secrets: Path
    port: int | None = None

    @classmethod
    def parse(cls, address: str, secrets: Path) -> SshCopy:
        """Read ``USER@HOST[:PORT]:/FOLDER``."""
        found = _REMOTE.fullmatch(address)
        if found is None:
            raise StackctlError(
                f"{address!r} is no place for rsync.", "Write USER@HOST:/FOLDER as backup.copies.rsync."
            )
        return cls(found["host"], found["folder"].rstrip("/"), secrets, int(found["port"]) if found["port"] else None)

    def send(self, repository: Repository, events: Events = quiet) -> list[str]:
        """Copy what is not there yet; see ``Copy.send``."""
        sent: list[str] = []
        with self._ssh() as ssh:
            there = self._complete(ssh)
            before = next((each for each in reversed(repository.snapshots()) if each.id in there), None)
            for snapshot in repository.snapshots():
                if snapshot.id in there or snapshot.id in repository.marks.damaged():
                    before = snapshot if snapshot.id in there else before
                    continue
                events("note", text=f"copying {snapshot.id} to {self.host}")
                self._send_one(ssh, snapshot, before)
                before = snapshot
                sent.append(snapshot.id)
        return sent

    def prune(self, repository: Repository, events: Events = quiet) -> list[str]:
        """Delete there what was deleted here; see ``Copy.prune``."""
        unwanted = _unwanted(repository)
        if not unwanted:
            return []
        with self._ssh() as ssh, tempfile.TemporaryDirectory() as empty:
            gone = sorted(self._complete(ssh) & unwanted)
            if gone:
                only = [part for name in gone for part in (f"--include=/{name}/", f"--include=/{name}/**")]
                self._rsync(ssh, ["-r", "--delete", *only, "--exclude=*", f"{empty}/", self._place("snapshots/")])
                events("note", text=f"deleted on {self.host}: {', '.join(gone)}")
        return gone

    def _send_one(self, ssh: str, snapshot: Snapshot, before: Snapshot | None) -> None:
        source, target = f"{snapshot.folder}/", self._place(f"snapshots/{snapshot.id}/")
        options = ["-aH", "--fsync", "--numeric-ids", "--mkpath", "--modify-window=-1"]
        link = [f"--link-dest=../{before.id}/"] if before else []
        self._rsync(ssh, [*options, "--delete", *link, f"--exclude=/{HEADER}", source, target])
        if again := _alike(snapshot, before):  # rsync takes equal size and time for equal content
            self._rsync(
                ssh, [*options, "--ignore-times", "--from0", "--files-from=-", source, target], "\0".join(again)
            )
        self._rsync(ssh, [*options, f"{source}{HEADER}", target])

    def _complete(self, ssh: str) -> set[str]:
        """Return the ids of the snapshots there that have their header."""
        only = ["--include=/snapshots/", "--include=/snapshots/*/", f"--include=/snapshots/*/{HEADER}", "--exclude=*"]
        try:
            done = self._rsync(ssh, ["-r", "--list-only", "--no-motd", *only, self._place("")])
        except StackctlError as error:
            if "No such file or directory" in error.message:
                return set()
            raise
        found = re.finditer(rf"^-\S+ +\S+ \S+ \S+ snapshots/([^/]+)/{re.escape(HEADER)}$", done.stdout, re.MULTILINE)
        return {match[1] for match in found}

    def _place(self, path: str) -> str:
        return f"{self.host}:{self.folder}/{path}"

    def _rsync(self, ssh: str, words: Sequence[str], text: str | None = None) -> process.Completed:
        argv = ["rsync", f"--timeout={SILENT_SECONDS}", "--protect-args", f"--rsh={ssh}", *words]
        try:
            return process.run(argv, input=text)
        except process.ProcessFailed as error:
            said = error.completed.stderr.strip() or error.completed.stdout.strip()
            raise StackctlError(f"The copy on {self.host} failed: {said}", self._hint(said)) from error

    def _hint(self, said: str) -> str:
        if "Permission denied (" in said:
            return f"Let the public key of secrets/{SSH_KEY} in on {self.host}."
        if "Host key verification failed" in said or "host key" in said:
            return f"Compare the host's key, then write it into secrets/{KNOWN_HOSTS} (ssh-keyscan HOST)."
        return f"See whether `ssh {self.host}` works, and that there is space."

    @contextlib.contextmanager
    def _ssh(self) -> Iterator[str]:
        """Yield the ssh command; the key is copied, because ssh refuses one that others can read."""
        if shutil.which("ssh") is None:
            raise MissingPrerequisite("There is no ssh on this machine.", "sudo apt-get install openssh-client")
        with tempfile.TemporaryDirectory(prefix="stackctl-ssh-") as folder:
            words = [
                "ssh",
                "-o",
                "BatchMode=yes",
                "-o",
                f"ConnectTimeout={CONNECT_SECONDS}",
                "-o",
                "StrictHostKeyChecking=yes",
            ]
            words += ["-o", "ServerAliveInterval=15", "-o", "IdentitiesOnly=yes"]
            words += ["-p", str(self.port)] if self.port else []
            for name, option in ((SSH_KEY, "IdentityFile"), (KNOWN_HOSTS, "UserKnownHostsFile")):
                if (self.secrets / name).is_file():
                    private = Path(folder) / name
                    private.touch(mode=0o600)
                    private.write_bytes((self.secrets / name).read_bytes())
                    words += ["-o", f"{option}={private}"]
                elif name == SSH_KEY:
                    raise StackctlError(
                        f"The copy on {self.host} needs a key, and secrets/{SSH_KEY} is not there.",
                        f"ssh-keygen -t ed25519 -N '' -f secrets/{SSH_KEY}",
                    )
            yield shlex.join(words)


@dataclass(frozen=True)
class ResticCopy:
    """Snapshots in a restic repository, which keeps each block once and encrypts all of them.

    Every restic snapshot carries the id as a tag.
    """

    repository: str
    stack: str
    secrets: Path

    def send(self, repository: Repository, events: Events = quiet) -> list[str]:
        """Copy what is not there yet; see ``Copy.send``."""
        self._prepare()
        there = self._tags()
        sent: list[str] = []
        for snapshot in repository.snapshots():
            if snapshot.id in there or snapshot.id in repository.marks.damaged():
                continue
            events("note", text=f"copying {snapshot.id} to restic")
            words = [
                "backup",
                "--quiet",
                f"--host={self.stack}",
                f"--tag={snapshot.id}",
                f"--time={snapshot.at:%Y-%m-%d %H:%M:%S}",
            ]
            self._restic([*words, "."], cwd=snapshot.folder)
            sent.append(snapshot.id)
        return sent

    def prune(self, repository: Repository, events: Events = quiet) -> list[str]:
        """Forget there what was deleted here; see ``Copy.prune``."""
        import json

        unwanted = _unwanted(repository)
        if not unwanted:
            return []
        listed = json.loads(self._restic(["snapshots", "--json", f"--host={self.stack}"]).stdout or "[]")
        gone = {each["id"]: tag for each in listed for tag in each.get("tags") or [] if tag in unwanted}
        if gone:
            self._restic(["forget", "--quiet", "--prune", *gone])
            events("note", text=f"forgotten by restic: {', '.join(sorted(gone.values()))}")
        return sorted(gone.values())

    def _prepare(self) -> None:
        if shutil.which("restic") is None:
            raise MissingPrerequisite("There is no restic on this machine.", "sudo apt-get install restic")
        if not (self.secrets / RESTIC_PASSWORD).is_file():
            raise StackctlError(
                f"The restic copy needs a password, and secrets/{RESTIC_PASSWORD} is not there.",
                f"Write one into secrets/{RESTIC_PASSWORD}, and keep it elsewhere too: without it the copy is lost.",
            )
        if self._run(["cat", "config", "--quiet"], check=False).returncode != 0:
            self._restic(["init", "--quiet"])

    def _tags(self) -> set[str]:
        import json

        listed = json.loads(self._restic(["snapshots", "--json", f"--host={self.stack}"]).stdout or "[]")
        return {tag for each in listed for tag in each.get("tags") or []}

    def _restic(self, words: Sequence[str], cwd: Path | None = None) -> process.Completed:
        try:
            return self._run(words, cwd=cwd)
        except process.ProcessFailed as error:
            said = error.completed.stderr.strip() or error.completed.stdout.strip()
            raise StackctlError(
                f"The restic copy in {self.repository} failed: {said}", "See `restic check`."
            ) from error

    def _run(self, words: Sequence[str], *, cwd: Path | None = None, check: bool = True) -> process.Completed:
        environment = {
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(self.secrets / RESTIC_PASSWORD),
            "RESTIC_CACHE_DIR": os.environ.get("RESTIC_CACHE_DIR")
            or str(Path(tempfile.gettempdir()) / "stackctl-restic"),
        }
        credentials = self.secrets / RESTIC_CREDENTIALS
        if credentials.is_file():
            environment["AWS_SHARED_CREDENTIALS_FILE"] = str(credentials)
        return process.run(["restic", *words], cwd=cwd, env=environment, check=check)


def _unwanted(repository: Repository) -> set[str]:
    """Return the snapshots that were deleted here, and not those that were lost with a disk: a copy is for these."""
    return set(repository.removed()).difference(snapshot.id for snapshot in repository.snapshots())


def _alike(snapshot: Snapshot, before: Snapshot | None) -> list[str]:
    """Return the files that differ from those of the snapshot before in their content, and not in their size."""
    if before is None:
        return []
    earlier = before.manifest.files
    return [
        path
        for path, entry in snapshot.manifest.files.items()
        if path in earlier and earlier[path].size == entry.size and earlier[path].sha256 != entry.sha256
    ]
