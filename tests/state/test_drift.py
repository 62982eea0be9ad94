"""How what is installed differs from what is declared."""

import pytest

from reconciler.state.words import message_of
from tests.state.comparing import compare, shown
from tests.state.site import Site

TORCH = "2.3.1+rocm5.7"


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
    assert (message_of(row) is None) is (status == "ok")


def test_a_mismatch_says_both_versions(site):
    site.add("numpy", "2.0")
    [row] = compare(site, "numpy>=1.24.0,<2.0").rows
    assert row.required == ">=1.24.0,<2.0"
    assert message_of(row).startswith("2.0 is installed, ")
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
    assert shown(drift) == [("numpy", "mismatch")]
    [row] = drift.rows
    assert row.required == ">=1.24,<2"
    assert message_of(row) == "2.0 is installed, <2 is required"
    assert row.origins == ("project.dependencies[0]", "project.dependencies[1]")
    assert not drift.in_sync


def test_a_package_has_one_row_with_the_worst_cause(site):
    """Whatever declares it, and whatever else requires it."""
    site.add("a", "2.0", requires=["b>=2", "c"])
    site.add("b", "1.0")
    drift = compare(site, "b", "a>=1", "c>=1", "a", "b<3", "a >= 1", "c>=1")
    assert shown(drift) == [("b", "mismatch"), ("a", "ok"), ("c", "missing")]
    b, a, c = drift.rows
    assert (b.required, b.dependent) == ("<3", None)
    assert message_of(b) == "1.0 is installed, >=2 is required; required by a 2.0"
    assert (a.required, len(a.origins)) == (">=1", 3)
    assert (c.required, message_of(c)) == (">=1", "not installed")


# Further down


def test_a_dependency_of_a_dependency_that_is_gone_is_drift(site):
    site.add("a", requires=["b"])
    site.add("b", requires=["c>=2"])
    drift = compare(site, "a")
    assert shown(drift) == [("a", "ok"), ("c", "missing")]
    row = drift.rows[1]
    assert row.required_by == "b"
    assert row.required == "c>=2"
    assert message_of(row) == "not installed; required by b 1.0"
    assert drift.reachable == {"a", "b", "c"}


def test_a_dependency_of_the_wrong_version_is_drift(site):
    site.add("pandas", requires=["numpy<2,>=1.22"])
    site.add("numpy", "2.1")
    drift = compare(site, "pandas", "numpy")
    assert shown(drift) == [("pandas", "ok"), ("numpy", "mismatch")]


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
    assert "a.py" in message_of(drift.rows[0])


def test_a_broken_dependency_is_drift(site):
    site.add("a", requires=["b"])
    site.add("b", record=False)
    assert shown(compare(site, "a")) == [("a", "ok"), ("b", "broken")]


def test_a_broken_package_that_nobody_needs_is_left_alone(site):
    site.add("a")
    site.add("stray", record=False)
    assert compare(site, "a").in_sync
