"""SIGHUP: the configuration is read again; what did not change is not disturbed."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.asking import finished, in_sync_with, passes, post, statuses
from tests.support.environments import snapshot
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceProcess, Table
from tests.support.thorough import only

pytestmark = only


@pytest.fixture
def projects(tmp_path: Path, small: PackageIndex) -> dict[str, Project]:
    found = {name: Project(tmp_path / name, small.url) for name in ("studio", "second", "third")}
    for project in found.values():
        project.write(["alpha"])
    return found


def keys(project: Project, **more: str) -> Table:
    return {"pyproject": str(project.path), "debounce": "50ms", "interval": "1h", **more}


@pytest.fixture
def pair(projects: dict[str, Project], services: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A service of two environments, both in sync."""
    process = services({name: keys(projects[name]) for name in ("studio", "second")})
    process.start()
    for name in ("studio", "second"):
        process.wait_for_phase("InSync", name=name)
    return process


def reload(process: ServiceProcess, environments: dict[str, Table]) -> None:
    count = len(process.events("service.reloaded"))
    process.environments = environments
    process.write_config()
    process.signal(signal.SIGHUP)
    process.wait_for(lambda _: len(process.events("service.reloaded")) > count)


def names(process: ServiceProcess) -> list[str]:
    return [row["name"] for row in process.status()["environments"]]


def test_environments_come_and_go(pair: ServiceProcess, projects: dict[str, Project]) -> None:
    before = pair.environment("studio")

    reload(pair, {"studio": keys(projects["studio"]), "third": keys(projects["third"])})

    assert pair.events("service.reloaded")[-1]["changes"] == "1 added, 1 removed, 0 changed"
    pair.wait_for_phase("InSync", name="third")
    pair.wait_for(lambda _: names(pair) == ["studio", "third"])
    assert snapshot(projects["third"].venv).keys() == {"alpha"}
    assert snapshot(projects["second"].venv).keys() == {"alpha"}, "to let go is not to change"
    after = pair.environment("studio")
    assert after["conditions"] == before["conditions"]
    assert after["last_pass"] == before["last_pass"]
    assert pair.client.post("/environments/second/reconcile").status_code == 404
    assert pair.client.get("/status/second").status_code == 404

    # What left is free for another service, and nobody looks after it here.
    projects["second"].save(["alpha", "beta"])
    projects["third"].save(["alpha", "beta"])
    pair.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]), name="third")
    assert snapshot(projects["second"].venv).keys() == {"alpha"}

    reload(pair, {"second": keys(projects["second"])})
    pair.wait_for(lambda _: names(pair) == ["second"])
    pair.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]), name="second")


def test_a_changed_environment_goes_by_its_new_keys(
    pair: ServiceProcess, projects: dict[str, Project]
) -> None:
    studio = keys(projects["studio"], mode="observe")

    reload(pair, {"studio": studio, "second": keys(projects["second"])})
    pair.wait_for_environment(lambda row: row["mode"] == "observe", name="studio")
    projects["studio"].save(["alpha", "beta"])
    pair.wait_for_environment(
        lambda row: row["phase"] == "Drifted" and statuses(row).get("beta") == "missing",
        name="studio",
    )
    assert snapshot(projects["studio"].venv).keys() == {"alpha"}

    reload(pair, {name: keys(projects[name]) for name in ("studio", "second")})
    row = pair.wait_for_environment(lambda it: in_sync_with(it, ["alpha", "beta"]), name="studio")
    assert (row["last_pass"]["trigger"], row["last_pass"]["result"]) == ("reload", "changed")
    begun = [(it["environment"], it["trigger"]) for it in passes(pair, "start", "reload")]
    assert begun.count(("studio", "reload")) == 2
    assert begun.count(("studio", "start")) == 1
    assert ("second", "reload") not in begun, "it was not changed"


@pytest.mark.parametrize(
    ("harm", "line", "said"),
    [
        ("[environments.studio\n", 1, "TOML"),
        ('[environments.studio]\npyproject = "x"\nintervall = "1h"\n', 3, "intervall"),
        ('[environments.studio]\npyproject = "x"\nhold = ["not a name"]\n', 3, "hold"),
    ],
    ids=["no-toml", "unknown-key", "bad-value"],
)
def test_a_bad_configuration_is_refused_and_the_old_one_stays(
    harm: str, line: int, said: str, pair: ServiceProcess, projects: dict[str, Project]
) -> None:
    before = pair.wait_for_environment(lambda row: row["gpu"], name="studio")
    pair.write_config(harm)

    pair.signal(signal.SIGHUP)
    document = pair.wait_for(lambda status: status["service"]["config_problem"])

    problem = document["service"]["config_problem"]
    assert (problem["file"], problem["line"]) == (str(pair.config), line)
    assert said in f"{problem['reason']} {problem['text']} {problem}"
    assert pair.events("config.rejected")[-1]["level"] == "error"
    assert names(pair) == ["studio", "second"]
    assert pair.environment("studio") == before
    projects["studio"].save(["alpha", "beta"])
    pair.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]), name="studio")

    reload(pair, {name: keys(projects[name]) for name in ("studio", "second")})
    pair.wait_for(lambda status: status["service"]["config_problem"] is None)


def test_a_reload_in_the_middle_of_a_pass_loses_neither_pass_nor_request(
    pair: ServiceProcess, projects: dict[str, Project], small: PackageIndex
) -> None:
    stall = small.stall_downloads(for_name="beta")
    projects["studio"].save(["alpha", "beta"])
    stall.wait_reached()
    running = pair.environment("studio")["current_pass"]["id"]
    asked = post(pair, "reconcile")

    studio = {**keys(projects["studio"]), "keep_generations": 1}
    reload(pair, {"studio": studio, "second": keys(projects["second"])})
    later = post(pair, "reconcile")
    small.heal()

    assert finished(pair, running)["result"] == "changed"
    for number in (asked, later):
        assert finished(pair, number)["result"] == "unchanged"
    pair.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]), name="studio")
    projects["studio"].save(["alpha", "beta", "gamma"])
    pair.wait_for_environment(
        lambda row: in_sync_with(row, ["alpha", "beta", "gamma"]), name="studio"
    )


def test_a_reload_does_not_bring_back_what_another_service_has(
    pair: ServiceProcess,
    projects: dict[str, Project],
    services: Callable[..., ServiceProcess],
) -> None:
    other = services({"third": keys(projects["third"])})
    other.start()
    other.wait_for_phase("InSync", name="third")

    pair.environments = {"studio": keys(projects["studio"]), "third": keys(projects["third"])}
    pair.write_config()
    pair.signal(signal.SIGHUP)
    document = pair.wait_for(lambda status: status["service"]["config_problem"])

    assert f"process {other.pid}" in document["service"]["config_problem"]["reason"]
    assert names(pair) == ["studio", "second"], "nothing of it was taken over"
    assert other.environment("third")["phase"] == "InSync"
