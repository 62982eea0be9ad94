"""systemd as a program: the only module that starts systemctl."""

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.processes import Ended, NotStarted, Program, TookTooLong, run

_BOOTED = Path("/run/systemd/system")
_TIMEOUT_SECONDS = 300.0


class ManagerFailed(Exception):
    """systemctl did not do what it was asked, or there is no systemd to ask.

    Attributes:
        mend: what to do.
    """

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(f"{message}. {mend}")
        self.mend = mend


class Manager:
    """The machine's service manager, or the user's own.

    Args:
        own: whether it is the user's own.
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
                "Run `reconciler run` from whatever starts services here.",
            )
        if own:
            self._find_own(os.getuid() if uid is None else uid)

    def __call__(self, *arguments: str) -> str:
        """Run `systemctl ARGUMENTS` and return what it printed.

        Raises:
            ManagerFailed: it failed; the message is its own.
        """
        answer = self.ask(*arguments)
        if answer.status != 0:
            words = " ".join([*self._command, *arguments])
            said = " ".join(answer.err.split()) or f"exit status {answer.status}"
            raise ManagerFailed(f"`{words}` failed: {said.rstrip('.')}", self._hint(arguments))
        return answer.out

    def last_words(self, name: str, since: float) -> str:
        """What a unit that did not start said, from `since` on (seconds since the epoch)."""
        scope = ["--user"] if self.own else []
        words = ["journalctl", *scope, "--unit", name, f"--since=@{since:.3f}"]
        answer = self._run([*words, "--lines=8", "--output=cat", "--quiet"])
        return answer.out.strip()

    def ask(self, *arguments: str) -> Ended:
        """Run `systemctl ARGUMENTS`; its exit status may be an answer."""
        return self._run([*self._command, *arguments])

    def _run(self, command: list[str]) -> Ended:
        try:
            return run(Program(command, environ=self._environ), limit=_TIMEOUT_SECONDS)
        except NotStarted as error:
            mend = "Install systemd's programs, or correct PATH."
            raise ManagerFailed(f"{command[0]} does not start ({error})", mend) from error
        except TookTooLong as error:
            mend = "See `systemctl list-jobs` for what it waits for."
            raise ManagerFailed(f"`{' '.join(command)}` failed: {error}", mend) from error

    @property
    def _command(self) -> list[str]:
        return ["systemctl", "--user"] if self.own else ["systemctl"]

    def _hint(self, arguments: tuple[str, ...]) -> str:
        scope = "--user " if self.own else ""
        unit = arguments[-1] if arguments[1:] else "reconciler.service"
        return f"See `journalctl {scope}-u {unit} -n 20`."

    def _find_own(self, uid: int) -> None:
        """`su` and `sudo` leave the variable out, though the manager may run."""
        folder = self._environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{uid}")
        if not Path(folder, "systemd", "private").exists():
            raise ManagerFailed(
                "no service manager runs for this user",
                "Log in as the user (not by su or sudo), or let root say "
                f"`loginctl enable-linger {uid}`.",
            )
