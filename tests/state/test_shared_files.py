"""Which packages claim the same files with different contents, from their RECORDs alone."""

from pathlib import Path

from reconciler.state.installed import Installed, InstalledReader
from reconciler.state.shared_files import claimants, is_code, shared_files


def installed(site: Path, **records: str) -> Installed:
    """Packages with these RECORDs: `path hash` on each line, hash perhaps empty."""
    for name, lines in records.items():
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        rows = [line.partition(" ") for line in lines.splitlines()]
        (info / "RECORD").write_text("".join(f"{p},{h and 'sha256=' + h},\n" for p, _, h in rows))
    return InstalledReader([site]).read()


def pairs(found: Installed) -> dict[tuple[str, str], list[str]]:
    return {
        (s.one.name, s.other.name): [path.rpartition("site-packages/")[2] for path in s.paths]
        for s in shared_files(found)
    }


def test_only_different_contents_count(tmp_path):
    site = tmp_path / "site-packages"
    found = installed(
        site,
        one="a/__init__.py AAAA\na/same.py CCCC\na/unknown.py\na/x.pyc AAAA",
        two="a/__init__.py BBBB\na/same.py CCCC\na/unknown.py DDDD\na/x.pyc BBBB",
        three="a/__init__.py AAAA\nb.py AAAA",
    )
    assert pairs(found) == {("one", "two"): ["a/__init__.py"], ("three", "two"): ["a/__init__.py"]}


def test_a_record_that_is_not_one_claims_nothing(tmp_path):
    site = tmp_path / "site-packages"
    found = installed(site, one="a.py AAAA", two="a.py BBBB", three="a.py CCCC")
    (site / "three-1.0.dist-info" / "RECORD").write_bytes(b"\0" * 100)
    assert pairs(InstalledReader([site]).read()) == {("one", "two"): ["a.py"]}
    assert pairs(found).keys() == {("one", "two")}


def test_claimants_are_compared_with_given_digests(tmp_path):
    site = tmp_path / "site-packages"
    found = installed(site, one="a.py AAAA", two="a.py BBBB", three="b.py AAAA")
    digest = next(iter(found.distributions["one"].files())).sha256
    assert claimants(found, {f"{site}/a.py": digest}) == {"two": (f"{site}/a.py",)}


def test_what_is_code():
    site = "/v/lib/python3.11/site-packages/"
    code = [
        "a.py",
        "a/b.pyi",
        "a.so",
        "nvidia/lib/libcudnn.so.9",
        "a/libx.so.9.1.0",
        "a/tests/b.py",
    ]
    other = ["LICENSE", "a.json", "a.so.txt", "tests/__init__.py", "docs/conf.py", "a.pyc"]
    assert [is_code(site + path) for path in code] == [True] * len(code)
    assert [is_code(site + path) for path in other] == [False] * len(other)
