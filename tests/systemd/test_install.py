"""`reconciler service`: installing, showing and removing, for the machine and for one user."""

from collections.abc import Iterator

import pytest

from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.systemd.machine import Machine
from tests.systemd.studio import PROGRAM, UNIT, Studio


def trace(machine: Machine, user: str) -> set[str]:
    """Everything that installing and running a service could leave behind."""
    places = ["/etc/systemd", "/etc/reconciler", "/var/lib", "/var/cache", "/run/reconciler"]
    places += ["/run/systemd/system", f"/home/{user}/.config", "/run/reconciler.sock"]
    places += [f"/home/{user}/.local/state/reconciler", f"/run/reconciler-{user}"]
    return set(machine.run("find", *places, check=False).stdout.splitlines())


def test_install_enables_starts_and_says_so(studio: Studio) -> None:
    path = "/etc/systemd/system/reconciler.service"
    shown = studio.machine.run(PROGRAM, "service", "show", "--config", studio.config).stdout
    assert not studio.machine.path(path).exists(), "it only shows"

    said = studio.install()

    assert "Wrote /etc/systemd/system/reconciler.service." in said
    assert "Enabled and started: reconciler.service." in said
    assert "It runs as studio" in said
    header, _, text = shown.partition("\n")
    assert header == f"# {path}"
    assert text.rstrip() == studio.machine.path(path).read_text().rstrip()
    state = studio.unit("ActiveState", "UnitFileState", "User")
    assert state == {"ActiveState": "active", "UnitFileState": "enabled", "User": "studio"}
    studio.declare("quick<2")
    studio.wait_for_packages(quick="1.0")


class TestInstalled:
    """What changes nothing for good: the tests share a service."""

    @pytest.fixture
    def service(self, lasting_service: Studio, index: PackageIndex) -> Studio:
        lasting_service.start_over(index)
        return lasting_service

    def test_what_is_installed_is_clean_and_hardened(self, service: Studio) -> None:
        machine = service.machine
        path = "/etc/systemd/system/reconciler.service"

        verify = machine.run("systemd-analyze", "verify", path)
        security = machine.run("systemd-analyze", "security", "--no-pager", "--threshold=18", UNIT)

        assert verify.stdout + verify.stderr == ""
        assert "Overall exposure level" in security.stdout

    def test_a_second_install_changes_nothing(self, service: Studio) -> None:
        pid = service.main_pid

        said = service.install()

        assert "/etc/systemd/system/reconciler.service is up to date." in said
        assert "Already enabled and running: reconciler.service." in said
        assert "reconciler.service has reloaded its configuration." in said
        assert service.main_pid == pid

    def test_a_new_environment_is_made_writable_by_installing_again(self, service: Studio) -> None:
        lab = {"pyproject": "/srv/studio", "python": "/srv/lab/.venv"}
        machine = service.machine
        machine.run("install", "-d", "-o", "studio", "/srv/lab")
        service.declare("quick<2")
        service.wait_for_packages(quick="1.0")
        service.configure(lab=lab)
        machine.systemctl("reload", UNIT)
        row = service.wait_for_phase("Failed", name="lab")
        assert row["conditions"][0]["reason"] == "NotWritable"
        assert "`reconciler service install` again" in row["conditions"][0]["message"]
        wait_until(
            lambda: machine.curl("/readyz")[0] == 503
        )  # while it is tried again it may be 200

        said = service.install()

        assert "Wrote" in said
        service.wait_for_phase("InSync", name="lab")
        assert machine.path("/srv/lab/.venv").is_dir()
        machine.run("rm", "-r", "/srv/lab")

    def test_doctor_of_root_starts_nothing_of_another_user_and_says_who_should_run_it(
        self,
        service: Studio,
    ) -> None:
        words = [PROGRAM, "doctor", "--config", service.config]

        said = service.machine.run(*words, check=False).stdout

        assert "studio: interpreter" not in said
        assert "`sudo -u studio reconciler ...` for a command" in said


def test_uninstall_leaves_no_trace(studio: Studio) -> None:
    machine = studio.machine
    studio.configure(http={"listen": "unix:/run/reconciler.sock"})
    machine.run("rm", "-rf", "/var/lib/reconciler")  # of commands that other tests have run
    before = trace(machine, "studio")
    studio.install("--socket")
    studio.declare("quick<2")
    studio.wait_for_packages(quick="1.0")
    assert trace(machine, "studio") > before

    said = machine.run(PROGRAM, "service", "uninstall").stdout

    assert "Removed /etc/systemd/system/reconciler.service." in said
    assert trace(machine, "studio") == before
    assert machine.systemctl("list-units", "--all", "--plain", "--no-legend", "reconciler*") == ""
    assert studio.packages == {"quick": "1.0"}
    assert machine.run(PROGRAM, "service", "uninstall").stdout == "Nothing is installed.\n"


def test_a_unit_of_somebody_else_is_left_alone(studio: Studio) -> None:
    machine = studio.machine
    path = "/etc/systemd/system/reconciler.service"
    machine.write(path, "[Service]\nExecStart=/bin/sleep 1\n")

    for verb in (["install", "--config", studio.config], ["uninstall"]):
        answer = machine.run(PROGRAM, "service", *verb, check=False)
        assert answer.returncode == 1
        assert f"{path} was not written by `reconciler service install`" in answer.stderr

    assert machine.path(path).read_text().startswith("[Service]")
    machine.run("rm", path)


def test_the_machine_s_service_is_for_root_to_install(studio: Studio) -> None:
    words = [PROGRAM, "service", "install", "--config", studio.config]

    answer = studio.machine.run(*words, user="studio", check=False)

    assert answer.returncode == 1
    assert "sudo reconciler service" in answer.stderr
    assert "--user" in answer.stderr


def test_an_unreadable_configuration_is_named_before_anything_is_written(studio: Studio) -> None:
    studio.machine.run("chmod", "0600", studio.config)
    words = [PROGRAM, "service", "install", "--config", studio.config]

    answer = studio.machine.run(*words, check=False)

    assert answer.returncode == 1
    assert f"studio cannot read {studio.config}" in answer.stderr
    assert not studio.machine.path("/etc/systemd/system/reconciler.service").exists()


def test_environments_of_two_users_need_two_services(studio: Studio) -> None:
    machine = studio.machine
    machine.run("install", "-d", "/srv/root")
    machine.write("/srv/root/pyproject.toml", "")
    studio.configure(other={"pyproject": "/srv/root"})

    answer = machine.run(PROGRAM, "service", "install", "--config", studio.config, check=False)

    assert answer.returncode == 1
    assert "(studio: studio, other: root)" in answer.stderr
    assert "--for USER" in answer.stderr
    machine.run("rm", "-r", "/srv/root")


@pytest.fixture
def unlingering(machine: Machine, index: PackageIndex, user: str) -> Iterator[Studio]:
    """A project in the user's home with the user's own configuration, and a manager that runs."""
    home = f"/home/{user}"
    for folder in (".config", ".config/reconciler"):
        machine.run("install", "-d", "-o", user, "-g", user, f"{home}/{folder}")
    machine.systemctl("start", f"user@{machine.user(user)[0]}.service")
    machine.begin_journal()
    yield Studio(
        machine, index, user, f"{home}/studio", config=f"{home}/.config/reconciler/config.toml"
    )
    machine.run(PROGRAM, "service", "uninstall", "--for", user, check=False)


@pytest.fixture
def own(unlingering: Studio) -> Studio:
    """The same, with a manager that runs without a login."""
    unlingering.machine.run("loginctl", "enable-linger", unlingering.owner)
    return unlingering


def test_a_user_s_own_service_needs_no_root(own: Studio) -> None:
    machine, user = own.machine, own.owner
    before = trace(machine, user)

    said = machine.run(PROGRAM, "service", "install", "--user", user=user).stdout

    unit = f"/home/{user}/.config/systemd/user/reconciler.service"
    assert f"Wrote {unit}." in said
    own.declare("quick<2")
    own.wait_for_packages(quick="1.0")
    state = machine.show(UNIT, "ActiveState", "UnitFileState", "StatusText", user=user)
    assert (state["ActiveState"], state["UnitFileState"]) == ("active", "enabled")
    assert "studio" in state["StatusText"]
    entries = machine.journal("_SYSTEMD_USER_UNIT=reconciler.service", "EVENT=package.changed")
    assert [entry["ENVIRONMENT"] for entry in entries] == ["studio"]

    machine.write(own.config, "nonsense", owner=user)
    assert machine.run("systemctl", "--user", "reload", UNIT, user=user, check=False).returncode
    own.configure()
    machine.systemctl("reload", UNIT, user=user)

    machine.run("install", "-d", "/etc/reconciler")  # the machine's, and not this user's
    machine.run(PROGRAM, "service", "uninstall", "--user", user=user)
    assert trace(machine, user) == before | {"/etc/reconciler"}
    machine.run("rmdir", "/etc/reconciler")
    assert machine.systemctl("is-active", UNIT, user=user, check=False) == "inactive"


def test_lingering_is_explained_where_it_is_off(unlingering: Studio) -> None:
    machine, user = unlingering.machine, unlingering.owner

    said = machine.run(PROGRAM, "service", "install", "--user", user=user).stdout

    assert "loginctl enable-linger" in said
    machine.run(PROGRAM, "service", "uninstall", "--user", user=user)


def test_without_a_manager_of_the_user_it_says_what_is_missing(
    machine: Machine, user: str, index: PackageIndex
) -> None:
    studio = Studio(machine, index, user, f"/home/{user}/studio", f"/home/{user}/config.toml")
    words = [PROGRAM, "service", "install", "--user", "--config", studio.config]

    answer = machine.run(*words, user=user, check=False)

    assert answer.returncode == 1
    assert "no service manager runs for this user" in answer.stderr
    assert "loginctl enable-linger" in answer.stderr


def test_a_service_for_a_named_user_runs_without_a_login(own: Studio) -> None:
    machine, user = own.machine, own.owner
    before = trace(machine, user)

    said = machine.run(PROGRAM, "service", "install", "--for", user).stdout

    name = f"reconciler@{user}.service"
    assert f"Enabled and started: {name}." in said
    own.declare("quick<2")
    own.wait_for_packages(quick="1.0")
    state = machine.show(name, "ActiveState", "User", "MainPID")
    assert (state["ActiveState"], state["User"]) == ("active", user)
    assert machine.path(f"/var/lib/reconciler-{user}").is_dir()
    machine.systemctl("reload", name)
    assert (own.environment() or {})["atomic"] is True

    own.configure(lab={"pyproject": str(own.folder), "python": f"/home/{user}/lab"})
    said = machine.run(PROGRAM, "service", "install", "--for", user).stdout
    assert f"{name} has reloaded its configuration." in said
    own.wait_for_phase("InSync", name="lab")

    machine.run(PROGRAM, "service", "uninstall", "--for", user)
    assert trace(machine, user) == before


def test_a_project_needs_no_configuration(studio: Studio) -> None:
    studio.machine.run("rm", "-r", "/etc/reconciler")

    said = studio.machine.run(PROGRAM, "service", "install", cwd=studio.folder).stdout

    assert "It runs as studio" in said
    studio.declare("quick<2")
    studio.wait_for_packages(quick="1.0")
