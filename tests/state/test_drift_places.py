"""Whether an installed package came from the place that is declared (PEP 610)."""

import pytest

from tests.state.comparing import compare, shown

TORCH = "2.3.1+rocm5.7"
ROCM = '[[tool.uv.index]]\nname = "rocm"\nurl = "https://x.test/rocm"\n'


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
        # To a server these may be two files, and uv compares the texts.
        ("a @ https://x.test/a%2Bb.whl", {"url": "https://x.test/a+b.whl"}, "mismatch"),
        ("a @ file:///srv/a%2Bb.whl", {"url": "file:///srv/a+b.whl"}, "ok"),
        ("a @ git+file:///srv/a", {"url": "file:///srv/a", "dir_info": {}}, "mismatch"),
        ("a @ file:///srv/a", {"url": "file:///srv/a", "vcs_info": GIT}, "mismatch"),
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
        ('{ path = "../a" }', {"url": "file:///srv/a", "dir_info": {"editable": False}}, "ok"),
        ('{ path = "../a" }', {"url": "file:///srv/a", "dir_info": {}}, "mismatch"),
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
    drift = compare(site, "a", extra=f"[tool.uv.sources]\na = {source}\n{ROCM}")
    assert shown(drift) == [("a", status)]


def test_a_direct_reference_is_shown_as_what_is_required(site):
    [row] = compare(site, "a @ https://x.test/a-1.0.whl").rows
    assert row.required == "https://x.test/a-1.0.whl"
    assert row.status == "missing"
