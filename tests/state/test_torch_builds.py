"""What is held with each real build of torch, and what stays free: every offender is listed."""

from reconciler.state.holds import HoldClosure, hold_set
from reconciler.state.installed import InstalledReader
from tests.state.site import Site
from tests.support.torch_builds import ROOTS, data, put

MARKERS = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.4",
    "python_version": "3.11",
    "sys_platform": "linux",
}
ORDINARY = {
    "numpy", "pillow", "sympy", "jinja2", "markupsafe", "networkx", "typing-extensions",
    "filelock", "fsspec", "mpmath",
}  # fmt: skip


def test_what_each_build_needs_on_the_accelerator_is_held_and_nothing_else(tmp_path) -> None:
    wrong: dict[str, set[object]] = {}
    for number, build in enumerate(data().builds):
        site = Site(tmp_path / str(number) / "lib" / "python3.11" / "site-packages")
        put(build, site)
        installed = InstalledReader([site.folder]).read()
        held = hold_set(ROOTS, installed, MARKERS).held
        found = {name: str(one.because) for name, one in held.items() if name not in ROOTS}
        if found != build.because:
            wrong[build.build] = set(found.items()) ^ set(build.because.items())
        stray = [name for name, one in held.items() if one.pinned_by not in (None, *held)]
        if stray or not set(build.free) >= ORDINARY:
            wrong.setdefault(build.build, set()).update(stray)
        pins = hold_set(ROOTS, installed, MARKERS, HoldClosure.PINS).held
        if not {one.because for one in pins.values()} <= {None, "pinned"}:
            wrong.setdefault(build.build, set()).update(pins)
    assert wrong == {}
