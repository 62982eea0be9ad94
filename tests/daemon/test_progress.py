"""Progress goes by the pass's plan, and by what uv really prints."""

from reconciler.daemon.progress import PackageStep, Progress
from reconciler.status import Change

PLAN = (
    Change(name="idna", action="upgrade", from_="3.0", to="3.20"),
    Change(name="local-pkg", action="install", to="0.3"),
    Change(name="six", action="remove", from_="1.16.0"),
)
INSTALL = [
    "Resolved 2 packages in 1ms",
    "   Building local_pkg @ file:///srv/src",
    "Downloading idna (70.0KiB)",
    " Downloaded idna",
    "      Built local-pkg @ file:///srv/src",
    "Prepared 2 packages in 15ms",
    "Installed 2 packages in 4ms",
    " + idna==3.20",
    " + local-pkg==0.3 (from file:///srv/src)",
]


def planned() -> Progress:
    progress = Progress()
    progress.enter("plan")
    progress.plan(PLAN)
    return progress


def installing(progress: Progress, *lines: str) -> list[PackageStep]:
    progress.enter("install")
    return [step for line in lines if (step := progress.read(line)) is not None]


def test_a_plan_names_what_will_be_installed_and_how_much_it_is():
    assert Progress().plan(PLAN) == [
        PackageStep("idna", "planned", 0, 2),
        PackageStep("local-pkg", "planned", 0, 2),
    ]


def test_what_uv_says_while_it_plans_is_no_progress():
    """A plan is asked for several times over, to find out what a hold keeps back."""
    progress = planned()
    progress.enter("plan")
    assert [progress.read(line) for line in INSTALL] == [None] * len(INSTALL)


def test_an_installation_counts_up_to_what_was_planned():
    assert installing(planned(), *INSTALL) == [
        PackageStep("local-pkg", "building", 0, 2),
        PackageStep("idna", "downloading", 0, 2),
        PackageStep("idna", "downloaded", 0, 2),
        PackageStep("local-pkg", "built", 0, 2),
        PackageStep("idna", "installed", 1, 2),
        PackageStep("local-pkg", "installed", 2, 2),
    ]


def test_a_failed_build_is_told():
    line = "error: Failed to build `local-pkg @ file:///srv/src`"
    assert installing(planned(), line) == [PackageStep("local-pkg", "failed", 1, 2)]


def test_a_second_plan_replaces_the_first():
    progress = planned()
    installing(progress, "error: Failed to build `local-pkg @ file:///srv/src`")
    progress.enter("plan")
    assert progress.plan(PLAN[:1]) == [PackageStep("idna", "planned", 0, 1)]
    assert installing(progress, " + idna==3.20") == [PackageStep("idna", "installed", 1, 1)]
