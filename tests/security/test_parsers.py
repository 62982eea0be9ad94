"""Hostile metadata and project files: each costs its own package or file, and little time."""

import json
import time
from collections.abc import Callable

from reconciler.state.desired import BadFile
from reconciler.state.drift import diff
from reconciler.state.holds import hold_set
from reconciler.state.installed import Installed, InstalledReader, audit
from tests.state.markers import LINUX_39
from tests.state.reading import read
from tests.state.site import Site

HEAD = "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"
NESTED = "[" * 50_000 + "]" * 50_000

WHEELS = {
    "60,000 digits": "Requires-Dist: a>=" + "1" * 60_000,
    "4,400 digits": "Requires-Dist: a>=" + "1" * 4_400,
    "4,400 digits in a marker": "Requires-Dist: a; python_version > '" + "1" * 4_400 + "'",
    "60,000 spaces": "Requires-Dist: a" + " " * 60_000 + "x",
    "9,000 spaces": "Requires-Dist: a" + " " * 9_000 + "x",
    "9,000 dots": "Requires-Dist: a>=" + "1.1" * 3_000 + "x",
    "9,000 parentheses": "Requires-Dist: a; " + "(" * 4_500 + "os_name=='x'" + ")" * 4_500,
    "an address that is none": "Requires-Dist: a @ https://[x/a.whl",
    "a wheel's name of digits": "Requires-Dist: a @ https://x/a-" + "1" * 4_400 + ".whl",
    "20,000 requirements": "\n".join(f"Requires-Dist: p{i}" for i in range(20_000)),
    "3,000 chained extras": "\n".join(
        f"Requires-Dist: evil[e{i + 1}]; extra == 'e{i}'" for i in range(3_000)
    ),
    "extras named in other ways": "\n".join(
        f"Requires-Dist: evil[e{i + 1}]; extra == 'e{i}' or extra != 'x'" for i in range(1_000)
    ),
    "a header without an end": "Summary: " + "x\n " * 1_000_000,
}

FILES = {
    "nested lists": "[project]\nx = " + NESTED,
    "a number of 5,000 digits": "[project]\nx = " + "1" * 5_000,
    "a dotted key": "[project]\n" + ".".join("a" * 5_000) + " = 1",
    "a long requirement": f"[project]\ndependencies = ['a>={'1' * 60_000}']",
    "a long number": f"[project]\ndependencies = ['a>={'1' * 4_400}']",
    "a long requires-python": f"[project]\nrequires-python = '>={'1' * 4_400}'",
    "an address that is none": "[project]\ndependencies = ['a @ https://[x']",
}


def quickly(work: Callable[[], object]) -> tuple[bool, object]:
    """Whether it raises nothing unexpected and takes little processor time; and what it does."""
    start = time.process_time()
    try:
        found = work()
    except BadFile as bad:
        found = bad
    except Exception as error:  # noqa: BLE001 -- whatever it is, it would stop the service
        return False, f"{type(error).__name__}: {error}"[:200]
    spent = time.process_time() - start
    return spent < 3, found if spent < 3 else f"{spent:.1f} s"


def looked_at(site: Site) -> Installed:
    installed = InstalledReader([site.folder]).read()
    desired = read("[project]\ndependencies = ['evil[e0]>=1', 'good']\n")
    for patterns in ((), ("evil",)):
        holds = hold_set(patterns, installed, LINUX_39)
        broken = audit(installed)
        diff(desired, installed, holds, broken, LINUX_39)
    return installed


def test_a_hostile_wheel_costs_only_itself(tmp_path, attacks):
    for number, (name, lines) in enumerate(WHEELS.items()):
        site = Site(tmp_path / str(number))
        site.add("good", "1.0")
        site.add("a", "1.0")  # what its requirements are compared with
        site.add("evil", "1.0", metadata=f"{HEAD}{lines}\n\n".encode())
        quick, found = quickly(lambda site=site: looked_at(site))
        good = found.get("good") if isinstance(found, Installed) else None
        attacks.tried(name, refused=quick and good and good.defect is None, found=found)


def test_the_defect_of_a_hostile_wheel_is_plain(tmp_path):
    site = Site(tmp_path)
    site.add("evil", "1.0", metadata=f"{HEAD}{WHEELS['60,000 digits']}\n\n".encode())
    evil = InstalledReader([site.folder]).read().get("evil")
    assert evil.defect == "its METADATA has a requirement with 60,003 characters"


def test_hostile_files_beside_the_metadata(tmp_path, attacks):
    for number, (name, file, text) in enumerate(
        (
            ("a nested direct_url.json", "direct_url.json", '{"url": ' + NESTED + "}"),
            ("a long direct_url.json", "direct_url.json", json.dumps({"url": "x" * 10_000_000})),
            ("other types", "direct_url.json", '{"url": {}, "dir_info": {"editable": []}}'),
            ("a null character", "direct_url.json", '{"url": "file:///a\\u0000b"}'),
            ("a size of 5,000 digits", "RECORD", f"evil.py,,{'1' * 5_000}\n"),
            ("a path of a megabyte", "RECORD", f"{'a/' * 500_000}b,,\n"),
            ("a million rows", "RECORD", "a,,\n" * 1_000_000),
            ("a folder of nulls", "RECORD", "\0" * 100_000),
            ("an installer without an end", "INSTALLER", "x" * 10_000_000),
        )
    ):
        site = Site(tmp_path / str(number))
        site.add("good", "1.0")
        (site.add("evil", "1.0") / file).write_text(text)
        quick, found = quickly(lambda site=site: looked_at(site))
        attacks.tried(name, refused=quick, found=found)


def test_a_hostile_project_file_is_a_problem(attacks):
    for name, text in FILES.items():
        quick, found = quickly(lambda text=text: read(text))
        short = isinstance(found, BadFile) and len(found.problem.reason) < 1000
        attacks.tried(name, refused=quick and short, found=found)
