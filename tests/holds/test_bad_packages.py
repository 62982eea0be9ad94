"""What an index has of one package may be unusable; the rest is had all the same."""

from pathlib import Path

import pytest

from tests.holds.sources import make_local_project
from tests.holds.stand import BASE, BESIDE, failed_names
from tests.support.thorough import sample
from tests.support.wheels import make_sdist, make_wheel


def corrupt(folder: Path, index, name: str = "bad", version: str = "1.0") -> None:
    wheel = make_wheel(folder, name, version)
    index.add(wheel)
    body = wheel.read_bytes()
    wheel.write_bytes(body[: len(body) // 2] + bytes(20) + body[len(body) // 2 + 20 :])


def other_bytes_than_promised(folder: Path, index) -> None:
    index.add(make_wheel(folder, "bad", "1.0"))
    make_wheel(folder, "bad", "1.0", files={"bad.py": "import os\n"})


def two_dist_infos(folder: Path, index) -> None:
    files = {"bad.py": "", "torch-2.3.1+rocm5.7.dist-info/RECORD": "\n"}
    index.add(make_wheel(folder, "bad", "1.0", files=files))


def another_name_inside(folder: Path, index) -> None:
    wheel = make_wheel(folder, "torch", "1.0")
    index.add(wheel.rename(folder / "bad-1.0-py3-none-any.whl"))


def not_even_metadata(folder: Path, index) -> None:
    sdist = make_sdist(folder, "bad", "1.0", static_metadata=False)
    index.add(sdist)
    sdist.write_bytes(b"not an archive")


@pytest.mark.parametrize(
    "make",
    sample(
        [
            corrupt,
            other_bytes_than_promised,
            two_dist_infos,
            another_name_inside,
            not_even_metadata,
        ],
        every=2,
    ),
)
def test_a_package_that_cannot_be_used_is_left_out(stand, tmp_path, make):
    before = stand.fingerprint()
    make(tmp_path, stand.index)
    stand.index.add(make_wheel(tmp_path, "needs-bad", "1.0", requires=["bad"]))
    stand.project.write(["needs-bad", *BESIDE])
    outcome = stand.reconcile()
    stand.assert_untouched(before)
    assert stand.packages() == BASE
    assert failed_names(outcome)["needs-bad"] == "DependencyFailed"
    assert failed_names(outcome)["bad"] in ("BuildFailed", "Unusable")


def test_a_file_that_the_index_has_lost(stand, tmp_path):
    stand.index.add(make_wheel(tmp_path, "bad", "1.0"))
    served = stand.index._files["bad-1.0-py3-none-any.whl"]
    stand.index._serve = _without(served.path.name, stand.index._serve)
    stand.project.write(["bad", *BESIDE])
    outcome = stand.reconcile()
    assert stand.packages() == BASE
    assert failed_names(outcome) == {"bad": "Unusable"}


@pytest.mark.parametrize("make", [None, corrupt], ids=["gone", "corrupt"])
def test_a_local_project_that_requires_torch_from_where_it_is_not(stand, tmp_path, make):
    before = stand.fingerprint()
    if make is not None:
        make(tmp_path, stand.index, "torch", "9.9")
    address = stand.index.file_url("torch-9.9-py3-none-any.whl")
    make_local_project(tmp_path / "mylib", [f"torch @ {address}"])
    extra = f'[tool.uv.sources]\nmylib = {{path = "{tmp_path / "mylib"}"}}\n'
    stand.project.write(["mylib", *BESIDE], extra=extra)
    outcome = stand.reconcile()
    assert stand.fingerprint() == before
    assert stand.packages() == BASE
    assert failed_names(outcome) == {"mylib": "NoSolution"}


def _without(filename: str, serve):
    def answer(handler, path: str) -> None:
        if path.endswith(filename):
            handler.answer(404)
        else:
            serve(handler, path)

    return answer
