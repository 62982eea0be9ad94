"""Runs systemctl; the only module that does."""

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.processes import Ended, NotStarted, Program, TookTooLong, run

_BOOTED = Path("/run/systemd/system")
_TIMEOUT_SECONDS = 300.0


class ManagerFailed(Exception):
    """systemctl failed, or there is no systemd.

    Attributes:
        fix: what to do.
    """

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}. {fix}")
        self.fix = fix


class Manager:
    """The system's service manager, or the user's.

    Args:
        own: whether it is the user's.
        environ: the environment variables of this process.
        uid: the user.

    Raises:
        ManagerFailed: there is none.
    """

    def __init__(
        self, *, own: bool, environ: Mapping[str, str] = os.environ, uid: int | None = None
    ) -> None:
        self.own = own
        self._environ = dict(environ)
        if not _BOOTED.is_dir():
            raise ManagerFailed(
                "systemd does not run this machine (sd_booted(3))",
                "Start `reconciler run` with the service manager of this machine.",
            )
        if own:
            self._find_own(os.getuid() if uid is None else uid)

    def __call__(self, *arguments: str) -> str:
        """Run `systemctl ARGUMENTS` and return what it printed.

        Raises:
            ManagerFailed: it failed; the message has its error output.
        """
        answer = self.ask(*arguments)
        if answer.status != 0:
            words = " ".join([*self._command, *arguments])
            said = " ".join(answer.err.split()) or f"exit status {answer.status}"
            raise ManagerFailed(f"`{words}` failed: {said.rstrip('.')}", self._hint(arguments))
        return answer.out

    def last_words(self, name: str, since: float) -> str:
        """What a unit that did not start has logged since `since` (seconds since the epoch)."""
        scope = ["--user"] if self.own else []
        words = ["journalctl", *scope, "--unit", name, f"--since=@{since:.3f}"]
        answer = self._run([*words, "--lines=8", "--output=cat", "--quiet"])
        return answer.out.strip()

    def ask(self, *arguments: str) -> Ended:
        """Run `systemctl ARGUMENTS`; a non-zero exit status is not an error here."""
        return self._run([*self._command, *arguments])

    def _run(self, command: list[str]) -> Ended:
        try:
            return run(Program(command, environ=self._environ), limit=_TIMEOUT_SECONDS)
        except NotStarted as error:
            fix = "Install systemd's programs, or correct PATH."
            raise ManagerFailed(f"{command[0]} does not start ({error})", fix) from error
        except TookTooLong as error:
            fix = "`systemctl list-jobs` shows what it is waiting for."
            raise ManagerFailed(f"`{' '.join(command)}` failed: {error}", fix) from error

    @property
    def _command(self) -> list[str]:
        return ["systemctl", "--user"] if self.own else ["systemctl"]

    def _hint(self, arguments: tuple[str, ...]) -> str:
        scope = "--user " if self.own else ""
        unit = arguments[-1] if arguments[1:] else "reconciler.service"
        return f"See `journalctl {scope}-u {unit} -n 20`."

    def _find_own(self, uid: int) -> None:
        """Find the user's manager; `su` and `sudo` drop its variable even if it runs."""
        folder = self._environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{uid}")
        if not Path(folder, "systemd", "private").exists():
            raise ManagerFailed(
                "no service manager runs for this user",
                "Log in as the user (not with su or sudo), or run "
                f"`loginctl enable-linger {uid}` as root.",
            )
