"""What is wrong with an installed package shows, and stops nobody."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from reconciler.state.installed import (
    audit,
    defect_of,
    missing_files,
    read_distribution,
    read_record,
    read_recorded_paths,
)

# What is wrong with a distribution


def test_without_metadata_the_folder_tells_and_it_is_defect(site, reader):
    info = site.add("some-thing", "3.1")
    (info / "METADATA").unlink()
    found = reader.read().get("some-thing")
    assert found.version == Version("3.1")
    assert "METADATA is missing" in found.defect


def test_a_folder_without_a_proper_name_is_defect(site, reader):
    site.add("thing", info="thing.dist-info")
    assert "an invalid name" in reader.read().get("thing").defect


def test_an_empty_shell_is_defect(site, reader):
    (site.folder / "thing-1.0.dist-info").mkdir()
    found = reader.read().get("thing")
    assert found.version == Version("1.0")
    assert found.defect
    assert reader.read().get("thing") is found


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\x00" * 500,
        b"\xff\xfe\x00N\x00a",
        b"Name\n\n",
        b"Name: \xe9t\xe9\nVersion: \xff\n\n",
        b"Name: thing\nVersion: not a version\nRequires-Dist: =>\nRequires-Dist: ok>=1\n\n",
        b"Name: thing\nVersion: 1.0\nRequires-Dist:\n folded\n >=1\n\n",
    ],
)
def test_metadata_that_means_nothing_stops_nobody(site, reader, metadata):
    site.add("thing", metadata=metadata)
    site.add("other")
    installed = reader.read()
    assert installed.version("other") == Version("1.0")
    assert len(installed.distributions) == 2


def test_a_line_that_is_no_requirement_is_left_out(site, reader):
    site.add("thing", requires=["numpy>=1", "pytz (~=1)", "six"])
    assert [r.name for r in reader.read().get("thing").requires] == ["numpy", "six"]


def test_a_folded_line_is_one(site, reader):
    head = b"Name: thing\r\nVersion: 1.0\r\nRequires-Dist: ok>=1\r\n ; python_version > '3'\r\n\r\n"
    site.add("thing", metadata=head)
    assert [str(r) for r in reader.read().get("thing").requires] == ['ok>=1; python_version > "3"']


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\x00" * 500,  # what a power cut leaves on XFS
        b"\xff\xfe\x00N\x00a",
        b"\xef\xbb\xbfMetadata-Version: 2.1\nName: thing\n\n",
        b"Name: thing\nVersion: not a version\n\n",
        b"Name: thing!\nVersion: 1.0\n\n",
        b"Name: other\nVersion: 1.0\n\n",
    ],
)
def test_damaged_metadata_is_damage_of_the_package_that_the_folder_names(site, reader, metadata):
    site.add("thing", metadata=metadata)
    installed = reader.read()
    assert set(installed.distributions) == {"thing"}
    assert installed.version("thing") == Version("1.0")
    assert "METADATA is" in audit(installed)["thing"]


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_whatever_metadata_holds_a_distribution_comes_of_it(tmp_path, metadata):
    info = tmp_path / "thing-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_bytes(metadata)
    assert read_distribution(info).info == info


@pytest.mark.parametrize(
    "direct_url",
    [
        [],
        "x",
        {"url": 3},
        {"dir_info": [1]},
        {"url": "file:///x", "dir_info": "editable"},
        {"url": "https://x.test", "vcs_info": "git"},
        {"url": "https://x.test", "vcs_info": ["git"]},
    ],
)
def test_a_direct_url_that_means_nothing_stops_nobody(site, reader, direct_url):
    site.add("thing", direct_url=direct_url)
    assert reader.read().version("thing") == Version("1.0")


def test_direct_url_is_read_by_pep_610(site, reader):
    vcs = {"vcs": "git", "requested_revision": "v1", "commit_id": "c0ffee"}
    site.add("git", direct_url={"url": "https://x.test/t", "vcs_info": vcs, "subdirectory": "py"})
    site.add("live", direct_url={"url": "file:///srv/live", "dir_info": {"editable": True}})
    site.add("tree", direct_url={"url": "file:///srv/tree", "dir_info": {}})
    site.add("file", direct_url={"url": "https://x.test/t.whl", "archive_info": {}})
    found = {name: d.direct_url for name, d in reader.read().distributions.items()}
    assert (found["git"].vcs_revision, found["git"].commit) == ("v1", "c0ffee")
    assert found["git"].subdirectory == "py"
    assert [found[name].editable for name in ("live", "tree", "file")] == [True, None, None]
    assert found["file"].url == "https://x.test/t.whl"


# RECORD


def test_missing_and_emptied_files_are_found(site, reader):
    files = {"thing/__init__.py": "1\n", "thing/a.py": "2\n", "thing/b.py": "3\n", "thing/e": ""}
    site.add("thing", files=files)
    thing = reader.read().get("thing")
    assert missing_files(thing) == ()
    (site.folder / "thing/a.py").unlink()
    (site.folder / "thing/b.py").write_bytes(b"")  # as a power cut leaves it
    assert [Path(p).name for p in missing_files(thing)] == ["a.py", "b.py"]
    assert audit(reader.read())["thing"].endswith("a.py and 1 more")


def test_an_edited_file_is_the_users_business(site, reader):
    site.add("thing", files={"thing.py": "1\n"})
    (site.folder / "thing.py").write_text("print('debugging')\n")
    assert audit(reader.read()) == {}


@pytest.mark.parametrize("path", ["__pycache__/thing.cpython-39.pyc", "thing.pyo"])
def test_missing_bytecode_is_no_damage(site, reader, path):
    site.add("thing", record=f"thing.py,,\n{path},,\nthing-1.0.dist-info/RECORD,,\n")
    assert audit(reader.read()) == {}


def test_a_dangling_link_is_what_was_recorded(site, reader):
    site.add("thing", record="link,,12\nthing-1.0.dist-info/RECORD,,\n")
    (site.folder / "link").symlink_to("nowhere")
    assert audit(reader.read()) == {}


def test_paths_of_a_record_are_absolute_and_normal(site):
    record = '../../bin/tool,sha256=abc,7\n"odd, name.py",,\n/opt/x,,\n'
    info = site.add("thing", record=record)
    rows = read_record(info)
    assert [r.path for r in rows] == [
        os.path.normpath(site.folder / "../../bin/tool"),
        str(site.folder / "odd, name.py"),
        "/opt/x",
    ]
    assert (rows[0].hash, rows[0].size) == ("sha256=abc", 7)
    assert (rows[1].hash, rows[1].size) == (None, None)


@pytest.mark.parametrize(
    "record",
    [
        "a/b.py,sha256=x,1\nthing-1.0.dist-info/RECORD,,\n",
        "../../bin/tool,,\n./a.py,,\na//b.py,,\na/./c.py,,\na/../d.py,,\n/opt/x,,\n",
        'a.py,,\r\n"odd, name.py",,\r\n',
        ".hidden,,\na b,,",
    ],
)
def test_the_paths_alone_are_those_of_the_rows(site, record):
    info = site.add("thing", record=record)
    assert read_recorded_paths(info) == tuple(row.path for row in read_record(info))


@pytest.mark.parametrize(
    "record", [b"one-field\n", b"a,b\n", b"a,,,\n", b"\x00" * 9, b"\xff\xfe", b"a,,\n\nb,,\n", b""]
)
def test_the_paths_of_a_malformed_record_are_refused_too(site, record):
    info = site.add("thing", record=record)
    with pytest.raises(ValueError):
        read_recorded_paths(info)


@pytest.mark.parametrize(
    "record",
    [
        b"\xff\xfe",
        b"one-field\n",
        b"a,b,not-a-size\n",
        b"\x00" * 300_000,  # what a power cut leaves on XFS
        b'"' + b"a" * 200_000,
        b"a\x00b,,\n",
        b"",
    ],
)
def test_a_record_that_means_nothing_is_damage_and_stops_nobody(site, reader, record):
    site.add("thing", record=record)
    site.add("other")
    installed = reader.read()
    assert set(audit(installed)) == {"thing"}


def test_a_missing_record_is_damage(site, reader):
    site.add("thing", record=False)
    assert "interrupted" in audit(reader.read())["thing"]
    with pytest.raises(OSError, match="RECORD"):
        reader.read().get("thing").files()


# Two of one name


def test_of_two_dist_infos_the_whole_one_comes_first(site, reader):
    site.add("thing", "1.0", files={"thing.py": "1\n", "old.py": "1\n"})
    site.add("thing", "2.0", record=False, files={})
    site.add("thing", "3.0", files={"thing.py": "3\n", "new.py": "3\n"})
    (site.folder / "old.py").unlink()
    installed = reader.read()
    assert installed.version("thing") == Version("3.0")
    assert [str(d.version) for d in installed.copies("thing")] == ["3.0", "1.0", "2.0"]
    assert len(list(installed.all())) == 3
    assert "second dist-info" in audit(installed)["thing"]
    assert "thing-1.0.dist-info" in defect_of(installed.get("thing"), installed)


def test_spellings_of_one_name_are_one_package(site, reader):
    site.add("Some.Thing", "1.0", info="Some.Thing-1.0.dist-info")
    site.add("some_thing", "2.0")
    assert len(reader.read().duplicates["some-thing"]) == 1


def test_a_dist_info_counts_more_than_an_egg_info(site, reader):
    (site.folder / "thing-9.0.egg-info").touch()
    site.add("thing", "1.0")
    assert reader.read().version("thing") == Version("1.0")
