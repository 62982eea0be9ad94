"""How what is installed differs from what is declared: by table, and beside uv itself."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.version import Version

from reconciler.state.adjustments import Adjustments
from reconciler.state.desired import parse
from reconciler.state.drift import Drift, diff
from reconciler.state.holds import Held, HoldSet, hold_set
from reconciler.state.installed import Installed, InstalledReader, audit
from tests.state.markers import LINUX_39
from tests.state.site import Site

TORCH = "2.3.1+rocm5.7"


@pytest.fixture
def site(tmp_path) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


def installed_in(site: Site) -> Installed:
    return InstalledReader([site.folder]).read()


def compare(
    site: Site,
    *requirements: str,
    extra: str = "",
    holds: tuple[str, ...] = ("torch", "torchvision"),
    held: Mapping[str, Held] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Drift:
    lines = ", ".join(f"'''{r}'''" for r in requirements)
    head = f'[project]\nname = "studio"\ndependencies = [{lines}]\n'
    text = head + textwrap.dedent(extra)
    desired = parse(Path("/srv/studio/pyproject.toml"), text.encode(), LINUX_39)
    installed = installed_in(site)
    hold = hold_set(holds, installed, LINUX_39)
    if held is not None:
        hold = HoldSet(hold.patterns, {**hold.held, **held})
    adjustments = Adjustments.of(settings or {})
    return diff(desired, installed, hold, audit(installed), LINUX_39, adjustments)


def shown(drift: Drift) -> list[tuple[str, str]]:
    return [(row.name, row.status) for row in drift.rows]


# Versions


@pytest.mark.parametrize(
    ("installed", "requirement", "status"),
    [
        ("1.26.4", "numpy", "ok"),
        ("1.26.4", "numpy>=1.24.0,<2.0", "ok"),
        ("2.0.0", "numpy>=1.24.0,<2.0", "mismatch"),
        ("1.23.5", "numpy>=1.24.0,<2.0", "mismatch"),
        ("1.26.4", "numpy==1.26.*", "ok"),
        ("1.26.4", "numpy!=1.26.4", "mismatch"),
        ("1.26.4", "numpy~=1.26.0", "ok"),
        ("1.27.0", "numpy~=1.26.0", "mismatch"),
        ("1.26.4", "NumPy >= 1", "ok"),
        # Local versions (PEP 440): a requirement without one admits any.
        ("2.3.1+rocm5.7", "numpy==2.3.1", "ok"),
        ("2.3.1+rocm5.7", "numpy==2.3.1+rocm5.7", "ok"),
        ("2.3.1+rocm5.7", "numpy==2.3.1+cu121", "mismatch"),
        ("2.3.1", "numpy==2.3.1+rocm5.7", "mismatch"),
        ("2.3.1+rocm5.7", "numpy>=2.3.1", "ok"),
        ("2.3.1+rocm5.7", "numpy>2.3.1", "mismatch"),
        ("2.3.1+rocm5.7", "numpy<=2.3.1", "ok"),
        ("2.3.1+rocm5.7", "numpy===2.3.1+rocm5.7", "ok"),
        ("2.3.1+rocm5.7", "numpy===2.3.1", "mismatch"),
        # Pre-releases that are installed are accepted where the specifier contains them.
        ("2.0rc1", "numpy>=1.0", "ok"),
        ("2.0rc1", "numpy", "ok"),
        ("2.0rc1", "numpy>=2.0", "mismatch"),
        ("2.0rc1", "numpy<2.0", "mismatch"),
        ("2.0.dev1", "numpy>=2.0.dev0", "ok"),
        ("2.0.post1", "numpy==2.0", "mismatch"),
        ("2.0.post1", "numpy>2.0", "mismatch"),
        ("1!1.0", "numpy>=2020", "ok"),
    ],
)
def test_versions(site, installed, requirement, status):
    site.add("numpy", installed)
    drift = compare(site, requirement)
    assert shown(drift) == [("numpy", status)]
    assert drift.in_sync is (status == "ok")
    [row] = drift.rows
    assert row.installed == installed
    assert (row.message is None) is (status == "ok")


def test_a_mismatch_says_both_versions(site):
    site.add("numpy", "2.0")
    [row] = compare(site, "numpy>=1.24.0,<2.0").rows
    assert row.required == ">=1.24.0,<2.0"
    assert row.message.startswith("2.0 is installed, ")
    assert row.required_by is None


def test_rows_are_in_declared_order_and_what_is_not_installed_is_missing(site):
    site.add("b")
    drift = compare(site, "c>=1", "b", "a")
    assert shown(drift) == [("c", "missing"), ("b", "ok"), ("a", "missing")]
    assert [row.name for row in drift.drifted] == ["c", "a"]
    assert [row.required for row in drift.rows] == [">=1", None, None]
    assert drift.rows[0].installed is None


def test_nothing_declared_is_in_sync_whatever_is_installed(site):
    site.add("stray", requires=["not-there"])
    drift = compare(site)
    assert drift.in_sync
    assert drift.rows == ()
    assert drift.reachable == frozenset()


def test_two_requirements_on_one_package_must_both_hold(site):
    site.add("numpy", "2.0")
    drift = compare(site, "numpy>=1.24", "numpy<2")
    assert shown(drift) == [("numpy", "ok"), ("numpy", "mismatch")]
    assert not drift.in_sync


# Further down


def test_a_dependency_of_a_dependency_that_is_gone_is_drift(site):
    site.add("a", requires=["b"])
    site.add("b", requires=["c>=2"])
    drift = compare(site, "a")
    assert shown(drift) == [("a", "ok"), ("c", "missing")]
    row = drift.rows[1]
    assert row.required_by == "b"
    assert row.required == "c>=2"
    assert row.message == "not installed; required by b 1.0"
    assert drift.reachable == {"a", "b", "c"}


def test_a_dependency_of_the_wrong_version_is_drift(site):
    site.add("pandas", requires=["numpy<2,>=1.22"])
    site.add("numpy", "2.1")
    drift = compare(site, "pandas", "numpy")
    assert shown(drift) == [("pandas", "ok"), ("numpy", "ok"), ("numpy", "mismatch")]


def test_a_cycle_of_dependencies_ends(site):
    site.add("a", requires=["b"])
    site.add("b", requires=["a", "gone"])
    assert shown(compare(site, "a")) == [("a", "ok"), ("gone", "missing")]


def test_one_missing_dependency_is_told_once(site):
    for name in "abc":
        site.add(name, requires=["gone"])
    assert shown(compare(site, "a", "b", "c"))[3:] == [("gone", "missing")]


def test_a_missing_declared_package_is_not_told_again_as_a_dependency(site):
    site.add("a", requires=["b"])
    assert shown(compare(site, "b", "a")) == [("b", "missing"), ("a", "ok")]


def test_what_is_not_reachable_does_not_count(site):
    site.add("a")
    site.add("stray", requires=["gone"])
    drift = compare(site, "a")
    assert drift.in_sync
    assert drift.reachable == {"a"}


@pytest.mark.parametrize(
    ("requires", "drift"),
    [
        ("tomli; python_version < '3.11'", ["tomli"]),
        ("tomli; python_version >= '3.11'", []),
        ("pywin32; sys_platform == 'win32'", []),
        ("gpu-thing; extra == 'gpu'", []),
        ("odd; sys_platform ~= 'linux'", []),
    ],
)
def test_markers_further_down_are_those_of_the_target(site, requires, drift):
    site.add("a", requires=[requires])
    assert [row.name for row in compare(site, "a").drifted] == drift


# Extras


@pytest.fixture
def with_extras(site) -> Site:
    site.add(
        "a",
        requires=["base", "web; extra == 'web-ui'", "gpu; extra == 'GPU'", "b[all]"],
        extras=["web-ui", "GPU"],
    )
    site.add("base")
    site.add("b", requires=["deep; extra == 'all'", "a[gpu]; extra == 'all'"], extras=["all"])
    return site


def test_requirements_of_an_extra_that_nobody_asks_for_do_not_count(site):
    site.add("a", requires=["web; extra == 'web'"], extras=["web"])
    assert compare(site, "a").in_sync


def test_extras_count_wherever_they_are_asked_for(with_extras):
    # b[all], which a needs, asks for a[gpu] in turn.
    assert {row.name for row in compare(with_extras, "a").drifted} == {"deep", "gpu"}


def test_extras_are_named_in_any_spelling(with_extras):
    assert "web" in {row.name for row in compare(with_extras, "a[Web_UI]").drifted}


def test_an_extra_that_the_package_does_not_have_is_no_drift(site):
    site.add("a")
    assert compare(site, "a[nothing]").in_sync


def test_an_extra_asked_for_later_is_walked_all_the_same(site):
    site.add("a", requires=["x; extra == 'one'", "y; extra == 'two'"], extras=["one", "two"])
    drift = compare(site, "a", "a[one]", "a[two]")
    assert {row.name for row in drift.drifted} == {"x", "y"}


# Packages that are not whole


def test_a_package_with_files_missing_is_broken(site):
    site.add("a", files={"a.py": "1\n"})
    (site.folder / "a.py").unlink()
    drift = compare(site, "a")
    assert shown(drift) == [("a", "broken")]
    assert [row.name for row in drift.broken] == ["a"]
    assert "a.py" in drift.rows[0].message


def test_a_broken_dependency_is_drift(site):
    site.add("a", requires=["b"])
    site.add("b", record=False)
    assert shown(compare(site, "a")) == [("a", "ok"), ("b", "broken")]


def test_a_broken_package_that_nobody_needs_is_left_alone(site):
    site.add("a")
    site.add("stray", record=False)
    assert compare(site, "a").in_sync


# Places (PEP 610)

GIT = {"vcs": "git", "requested_revision": "v1", "commit_id": "c0ffee"}


@pytest.mark.parametrize(
    ("requirement", "direct_url", "status"),
    [
        ("a @ https://x.test/a-1.0.whl", None, "mismatch"),
        ("a @ https://x.test/a-1.0.whl", {"url": "https://x.test/a-1.0.whl"}, "ok"),
        ("a @ https://x.test/a-1.0.whl#sha256=ab", {"url": "https://x.test/a-1.0.whl"}, "ok"),
        ("a @ https://u:p@x.test/a-1.0.whl", {"url": "https://x.test/a-1.0.whl"}, "ok"),
        ("a @ https://x.test/a-1.0.whl", {"url": "https://u:****@x.test/a-1.0.whl"}, "ok"),
        ("a @ https://x.test/a-1.0.whl", {"url": "https://x.test/a-2.0.whl"}, "mismatch"),
        ("a @ https://x.test/a-1.0.whl", {"url": "https://y.test/a-1.0.whl"}, "mismatch"),
        ("a @ https://x.test/a%2Bb.whl", {"url": "https://x.test/a+b.whl"}, "ok"),
        ("a @ git+https://x.test/a", {"url": "https://x.test/a", "vcs_info": GIT}, "ok"),
        ("a @ git+https://x.test/a.git", {"url": "https://x.test/a", "vcs_info": GIT}, "ok"),
        ("a @ git+https://x.test/a@v1", {"url": "https://x.test/a", "vcs_info": GIT}, "ok"),
        ("a @ git+https://x.test/a@c0ffee", {"url": "https://x.test/a", "vcs_info": GIT}, "ok"),
        ("a @ git+https://x.test/a@v2", {"url": "https://x.test/a", "vcs_info": GIT}, "mismatch"),
        ("a @ git+ssh://git@x.test/a@v2", {"url": "ssh://git@x.test/a", "vcs_info": GIT},
         "mismatch"),
        ("a @ git+ssh://git@x.test/a@v1", {"url": "ssh://git@x.test/a", "vcs_info": GIT}, "ok"),
        ("a @ file:///srv/a", {"url": "file:///srv/a", "dir_info": {}}, "ok"),
        ("a @ file:///srv/a/", {"url": "file:///srv/a", "dir_info": {}}, "ok"),
        ("a @ file:///srv/b", {"url": "file:///srv/a", "dir_info": {}}, "mismatch"),
        ("a @ https://x.test/r.zip#subdirectory=py",
         {"url": "https://x.test/r.zip", "subdirectory": "py"}, "ok"),
        ("a @ https://x.test/r.zip#subdirectory=py",
         {"url": "https://x.test/r.zip", "subdirectory": "js"}, "mismatch"),
        ("a @ https://x.test/r.zip#subdirectory=py", {"url": "https://x.test/r.zip"}, "mismatch"),
    ],
)  # fmt: skip
def test_direct_references(site, requirement, direct_url, status):
    site.add("a", direct_url=direct_url)
    assert shown(compare(site, requirement)) == [("a", status)]


@pytest.mark.parametrize(
    ("source", "direct_url", "status"),
    [
        ('{ path = "../a" }', {"url": "file:///srv/a", "dir_info": {}}, "ok"),
        ('{ path = "../a" }', None, "mismatch"),
        ('{ path = "../a" }', {"url": "file:///srv/a", "dir_info": {"editable": True}}, "mismatch"),
        ('{ path = "../a", editable = true }',
         {"url": "file:///srv/a", "dir_info": {"editable": True}}, "ok"),
        ('{ path = "../a", editable = true }', {"url": "file:///srv/a", "dir_info": {}},
         "mismatch"),
        ('{ path = "../a b.whl" }', {"url": "file:///srv/a%20b.whl", "archive_info": {}}, "ok"),
        ('{ git = "https://x.test/a", tag = "v1" }', {"url": "https://x.test/a", "vcs_info": GIT},
         "ok"),
        ('{ git = "https://x.test/a", rev = "c0ffee" }',
         {"url": "https://x.test/a", "vcs_info": GIT}, "ok"),
        ('{ git = "https://x.test/a", branch = "main" }',
         {"url": "https://x.test/a", "vcs_info": GIT}, "mismatch"),
        ('{ git = "https://x.test/a" }', {"url": "https://x.test/a", "vcs_info": GIT}, "ok"),
        ('{ git = "https://x.test/a", subdirectory = "py" }',
         {"url": "https://x.test/a", "vcs_info": GIT}, "mismatch"),
        ('{ index = "rocm" }', None, "ok"),
    ],
)  # fmt: skip
def test_sources(site, source, direct_url, status):
    site.add("a", direct_url=direct_url)
    drift = compare(site, "a", extra=f"[tool.uv.sources]\na = {source}\n")
    assert shown(drift) == [("a", status)]


def test_a_direct_reference_is_shown_as_what_is_required(site):
    [row] = compare(site, "a @ https://x.test/a-1.0.whl").rows
    assert row.required == "https://x.test/a-1.0.whl"
    assert row.status == "missing"


# Held


def test_a_held_package_that_fits_is_held(site):
    site.add("torch", TORCH)
    drift = compare(site, f"torch=={TORCH}", "torch>=2")
    assert shown(drift) == [("torch", "held"), ("torch", "held")]
    assert all(row.ok and row.held for row in drift.rows)
    assert drift.in_sync


@pytest.mark.parametrize("requirement", ["torch>=2.4", "torch==2.3.1+cu121", "torch<2"])
def test_a_held_package_that_does_not_fit_is_told_and_kept(site, requirement):
    site.add("torch", TORCH)
    drift = compare(site, requirement)
    [row] = drift.rows
    assert (row.status, row.ok, row.fixable) == ("held-mismatch", False, False)
    assert "hold accept torch" in row.message
    assert drift.in_sync
    assert drift.unfit == (row,)


def test_where_a_held_package_comes_from_does_not_matter(site):
    site.add("torch", TORCH)
    drift = compare(site, "torch @ https://x.test/torch.whl")
    assert [r.status for r in compare(site, "torch", extra=_TORCH_SOURCE).rows] == ["held"]
    assert drift.in_sync


_TORCH_SOURCE = '[tool.uv.sources]\ntorch = { url = "https://x.test/torch.whl" }\n'


def test_a_hold_that_is_not_installed_is_told_and_never_drift(site):
    site.add("accelerate", requires=["torch>=2"])
    drift = compare(site, "torch==2.3.1", "accelerate")
    assert shown(drift) == [("torch", "held-missing"), ("accelerate", "ok")]
    assert "never installed for you" in drift.rows[0].message
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
    assert shown(drift) == [("accelerate", "ok"), ("accelerate", "mismatch")]
    assert "torch 2.3.1+rocm5.7 is held" in drift.rows[1].message
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
        assert "hold restore torch" in row.message
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
    assert "in place of 2.3.1+rocm5.7" in row.message
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
    assert "exclude-dependencies" in row.message


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
