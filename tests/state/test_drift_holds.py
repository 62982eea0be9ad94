"""How holds, and what the user tells uv, show in the comparison."""

import pytest
from packaging.version import Version

from reconciler.state.holds import Held
from reconciler.state.words import message_of
from tests.state.comparing import compare, installed_in, shown

TORCH = "2.3.1+rocm5.7"


# Held


def test_a_held_package_that_fits_is_held(site):
    site.add("torch", TORCH)
    drift = compare(site, f"torch=={TORCH}", "torch>=2")
    assert shown(drift) == [("torch", "held")]
    assert all(row.ok and row.held for row in drift.rows)
    assert drift.in_sync


@pytest.mark.parametrize("requirement", ["torch>=2.4", "torch==2.3.1+cu121", "torch<2"])
def test_a_held_package_that_does_not_fit_is_told_and_kept(site, requirement):
    site.add("torch", TORCH)
    drift = compare(site, requirement)
    [row] = drift.rows
    assert (row.status, row.ok, row.fixable) == ("held-mismatch", False, False)
    assert "hold accept torch" in message_of(row)
    assert drift.in_sync
    assert drift.unfit == (row,)


_PLACE = "https://u:secret@x.test/whl"


def test_where_a_held_build_comes_from_does_not_matter_but_its_address_is_shown(site):
    site.add("torch", TORCH)
    offenders = []
    for address, status in {
        f"{_PLACE}/torch-2.3.1%2Brocm5.7-cp39-cp39-linux_x86_64.whl": "held",
        f"{_PLACE}/torch-2.3.1-py3-none-any.whl": "held",
        f"{_PLACE}/torch-2.3.1.tar.gz": "held",
        f"{_PLACE}/torch.whl": "held",
        "git+https://u:secret@x.test/torch.git@main": "held",
        f"{_PLACE}/torch-2.4.0%2Brocm6.1-py3-none-any.whl": "held-mismatch",
        f"{_PLACE}/torch-2.3.1%2Bcu121-py3-none-any.whl#sha256=00": "held-mismatch",
        f"{_PLACE}/torch-2.4.0.tar.gz": "held-mismatch",
    }.items():
        key = "git" if address.startswith("git+") else "url"
        source = f'[tool.uv.sources]\ntorch = {{ {key} = "{address.removeprefix("git+")}" }}\n'
        for drift in (
            compare(site, f"torch @ {address}"), compare(site, "torch", extra=source),
        ):  # fmt: skip
            [row] = drift.rows
            said = message_of(row)
            shown_there = "@x.test/" in said and "secret" not in said
            both = status == "held" or TORCH in said
            if not (row.status == status and drift.in_sync and shown_there and both):
                offenders.append((address, row.status, said))
    assert offenders == []


def test_a_dependent_that_requires_a_hold_by_url_needs_that_version_only(site):
    site.add("torch", TORCH)
    for name, file in {
        "same": "torch-2.3.1%2Brocm5.7-py3-none-any.whl", "unknown": "torch.zip",
        "other": "torch-2.8.0-py3-none-any.whl",
    }.items():  # fmt: skip
        site.add(name, requires=[f"torch @ {_PLACE}/{file}"])
    drift = compare(site, "same", "unknown", "other")
    assert [(row.name, row.status) for row in drift.rows if not row.ok] == [("other", "mismatch")]
    said = message_of(drift.rows[-1])
    assert "torch-2.8.0-py3" in said
    assert "secret" not in said


def test_a_hold_that_is_not_installed_is_told_and_never_drift(site):
    site.add("accelerate", requires=["torch>=2"])
    drift = compare(site, "torch==2.3.1", "accelerate")
    assert shown(drift) == [("torch", "held-missing"), ("accelerate", "ok")]
    assert "never installed for you" in message_of(drift.rows[0])
    assert drift.in_sync


def test_a_missing_hold_that_only_a_dependency_needs_is_told(site):
    site.add("accelerate", requires=["torch>=2"])
    drift = compare(site, "accelerate")
    assert shown(drift) == [("accelerate", "ok"), ("torch", "held-missing")]
    assert drift.rows[1].required_by == "accelerate"
    assert drift.in_sync


def test_a_dependent_that_a_hold_does_not_fit_has_to_give_way(site):
    site.add("torch", TORCH)
    site.add("accelerate", "1.0", requires=["torch>=2.4"])
    drift = compare(site, "accelerate")
    assert shown(drift) == [("accelerate", "mismatch")]
    assert "torch 2.3.1+rocm5.7 is held" in message_of(drift.rows[0])
    assert not drift.in_sync


def test_holds_that_do_not_fit_each_other_are_the_users_business(site):
    site.add("torch", TORCH)
    site.add("torchvision", "0.19", requires=["torch==2.4.0"])
    drift = compare(site, "torchvision")
    assert ("torch", "held-mismatch") in shown(drift)
    assert drift.in_sync


def test_what_a_hold_requires_is_needed_even_if_nothing_else_is_declared(site):
    site.add("torch", TORCH, requires=["sympy>=1.12"])
    drift = compare(site)
    assert shown(drift) == [("sympy", "missing")]
    assert drift.rows[0].required_by == "torch"


def test_a_broken_hold_is_told_and_not_mended(site):
    site.add("torch", TORCH, files={"torch.py": "1\n"})
    (site.folder / "torch.py").unlink()
    for requirements in (("torch",), ()):
        drift = compare(site, *requirements)
        [row] = drift.rows
        assert (row.status, row.fixable, row.held) == ("broken", False, True)
        assert "hold restore torch" in message_of(row)
        assert drift.in_sync
        assert drift.broken == ()


def test_a_hold_that_somebody_replaced_is_told_as_broken(site):
    site.add("torch", TORCH)
    was = installed_in(site).get("torch")
    (site.folder / "torch-2.3.1+rocm5.7.dist-info").rename(site.folder / "gone")
    site.add("torch", "2.8.0", files={"torch.py": "2\n"})
    drift = compare(site, "torch", held={"torch": Held(was)})
    [row] = drift.rows
    assert (row.status, row.installed) == ("broken", "2.8.0")
    assert "instead of 2.3.1+rocm5.7" in message_of(row)
    assert drift.in_sync


def test_what_a_hold_pins_is_held_as_well(site):
    site.add("torch", TORCH, requires=["pytorch-triton-rocm==2.3.1"])
    site.add("pytorch-triton-rocm", "2.3.1")
    assert shown(compare(site, "pytorch-triton-rocm>=3")) == [
        ("pytorch-triton-rocm", "held-mismatch")
    ]


# What the user tells uv


def test_an_override_counts_in_place_of_every_requirement(site):
    site.add("a", requires=["b<2"])
    site.add("b", "3.0")
    assert not compare(site, "a", "b<3").in_sync
    assert compare(site, "a", "b<3", settings={"override-dependencies": ["b>=3"]}).in_sync
    drift = compare(site, "a", settings={"override-dependencies": ["b==1"]})
    assert shown(drift) == [("a", "ok"), ("b", "mismatch")]


def test_several_overrides_of_one_package_count_together(site):
    site.add("b", "3.0")
    overrides = ["b>=9; sys_platform == 'win32'", "b>=3; sys_platform == 'linux'"]
    for order in (overrides, overrides[::-1]):
        assert compare(site, "b<2", settings={"override-dependencies": order}).in_sync


def test_an_override_for_another_target_drops_the_requirement(site):
    site.add("a", requires=["gone"])
    settings = {"override-dependencies": ["gone; sys_platform == 'win32'"]}
    assert compare(site, "a", settings=settings).in_sync


def test_an_excluded_dependency_is_not_missed(site):
    site.add("a", requires=["gone"])
    assert compare(site, "a", settings={"exclude-dependencies": ["gone"]}).in_sync
    [row] = compare(site, "gone", settings={"exclude-dependencies": ["gone"]}).rows
    assert row.status == "ok"
    assert "exclude-dependencies" in message_of(row)


def test_a_constraint_bounds_what_is_needed_and_nothing_else(site):
    site.add("a", requires=["b"])
    site.add("b", "3.0")
    site.add("stray", "3.0")
    settings = {"constraint-dependencies": ["b<3", "stray<3", "gone<3"]}
    drift = compare(site, "a", settings=settings)
    assert [row.name for row in drift.drifted] == ["b"]
    assert shown(compare(site, "b", settings=settings)) == [("b", "mismatch")]
    settings = {"constraint-dependencies": ["b<3; sys_platform == 'win32'"]}
    assert compare(site, "a", settings=settings).in_sync


def test_static_metadata_that_the_user_gives_counts_in_place_of_the_packages_own(site):
    site.add("a", requires=["gone"])
    own = {"name": "A", "version": "1.0", "requires-dist": ["b>=2"]}
    drift = compare(site, "a", settings={"dependency-metadata": [own]})
    assert [row.name for row in drift.drifted] == ["b"]
    other = {**own, "version": "2.0"}
    drift = compare(site, "a", settings={"dependency-metadata": [other]})
    assert [row.name for row in drift.drifted] == ["gone"]
    any_version = {"name": "a"}
    assert compare(site, "a", settings={"dependency-metadata": [any_version]}).in_sync


@pytest.mark.parametrize(
    "settings",
    [
        {"override-dependencies": ["=>"]},
        {"override-dependencies": [3]},
        {"exclude-dependencies": [3]},
        {"constraint-dependencies": [{"name": "b"}]},
        {"dependency-metadata": [3]},
        {"dependency-metadata": [{"name": 3, "requires-dist": "x"}]},
        {"override-dependencies": ["b; sys_platform ~= 'x'"]},
    ],
)
def test_settings_that_uv_would_refuse_are_uvs_to_report(site, settings):
    site.add("a")
    assert compare(site, "a", settings=settings).in_sync


def test_a_row_tells_versions_as_they_are_installed(site):
    site.add("a", "1.0+Local.1")
    [row] = compare(site, "a").rows
    assert Version(row.installed) == Version("1.0+local.1")
