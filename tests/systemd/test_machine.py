"""The machine itself: it boots, it is separate from this one, and its files outlive its power."""

from pathlib import Path

from tests.systemd.machine import Machine


def test_systemd_is_its_first_process(machine: Machine) -> None:
    assert machine.systemctl("is-system-running") in ("running", "degraded")
    assert machine.run("cat", "/proc/1/comm").stdout == "systemd\n"
    assert machine.systemctl("list-units", "--failed", "--plain", "--no-legend") == ""


def test_a_unit_starts_and_its_words_are_in_the_journal(machine: Machine) -> None:
    machine.write(
        "/etc/systemd/system/hello.service", "[Service]\nType=oneshot\nExecStart=/bin/echo hello\n"
    )
    machine.systemctl("daemon-reload")

    machine.systemctl("start", "hello")

    machine.wait_until(
        lambda: [e for e in machine.journal("-u", "hello") if e["MESSAGE"] == "hello"], "hello"
    )


def test_it_is_separate_and_its_files_outlive_its_power(tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    folder.mkdir()
    machine = Machine(folder, {})
    try:
        machine.boot()
        machine.write("/srv/kept", "kept")
        machine.write("/etc/kept", "kept")
        first = machine.pid
        machine.cut_power()
        assert not Path(f"/proc/{first}").exists()

        machine.boot()

        assert machine.path("/srv/kept").read_text() == "kept"
        assert machine.path("/etc/kept").read_text() == "kept"
        assert machine.run("hostname").stdout == "machine\n"
        for name in ("net", "pid", "mnt", "uts", "ipc", "cgroup"):
            theirs, ours = Path(f"/proc/{machine.pid}/ns/{name}"), Path(f"/proc/self/ns/{name}")
            assert theirs.readlink() != ours.readlink()
    finally:
        machine.close()
    assert list(folder.iterdir()) == []
    assert not Path("/etc/kept").exists()
