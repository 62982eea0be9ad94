"""Progress is read from what uv really prints."""

from reconciler.daemon.progress import PackageStep, Progress

PLAN = [
    "Using Python 3.11.7 environment at: .venv",
    "Resolved 3 packages in 92ms",
    "Would download 2 packages",
    "Would install 2 packages",
    " + idna==3.20",
    " + localpkg @ file:///srv/src",
    " - six==1.16.0",
]
INSTALL = [
    "Resolved 2 packages in 1ms",
    "   Building localpkg @ file:///srv/src",
    "Downloading idna (70.0KiB)",
    " Downloaded idna",
    "      Built localpkg @ file:///srv/src",
    "Prepared 2 packages in 15ms",
    "Installed 2 packages in 4ms",
    " + idna==3.20",
    " + localpkg==0.3 (from file:///srv/src)",
]


def steps(progress: Progress, phase: str, lines: list[str]) -> list[PackageStep]:
    progress.enter(phase)
    return [step for line in lines if (step := progress.read(line)) is not None]


def test_a_plan_names_what_will_be_installed():
    assert steps(Progress(), "plan", PLAN) == [
        PackageStep("idna", "planned", 0, 1),
        PackageStep("localpkg", "planned", 0, 2),
    ]


def test_a_held_package_is_not_planned_though_uv_names_its_stub():
    lines = [*PLAN, " + torch==2.3.1+rocm5.7", " + pytorch-triton-rocm==2.3.1"]
    held = Progress(held=frozenset({"torch", "pytorch-triton-rocm"}))
    assert steps(held, "plan", lines) == steps(Progress(), "plan", PLAN)


def test_an_installation_counts_up_to_what_was_planned():
    progress = Progress()
    steps(progress, "plan", PLAN)
    assert steps(progress, "install", INSTALL) == [
        PackageStep("localpkg", "building", 0, 2),
        PackageStep("idna", "downloading", 0, 2),
        PackageStep("idna", "downloaded", 0, 2),
        PackageStep("localpkg", "built", 0, 2),
        PackageStep("idna", "installed", 1, 2),
        PackageStep("localpkg", "installed", 2, 2),
    ]


def test_a_failed_build_is_told():
    progress = Progress()
    steps(progress, "plan", PLAN)
    line = "error: Failed to build `localpkg @ file:///srv/src`"
    assert steps(progress, "install", [line]) == [PackageStep("localpkg", "failed", 1, 2)]


def test_a_second_plan_begins_anew():
    progress = Progress()
    steps(progress, "plan", PLAN)
    assert steps(progress, "plan", ["Resolved 1 package in 1ms", " + idna==3.20"]) == [
        PackageStep("idna", "planned", 0, 1)
    ]
