"""What is read from site-packages, however it got there."""

import os
import shutil
from pathlib import Path

import pytest
from packaging.version import Version

from reconciler.environment.interpreter import inspect
from reconciler.state.installed import (
    InstalledReader,
    MetadataCache,
    audit,
    missing_files,
)
from tests.state.site import Site
from tests.support.environments import (
    install,
    make_venv,
    pythons,
    site_packages,
    snapshot,
    uninstall,
)  # fmt: skip
from tests.support.wheels import make_wheel

# What is read


def test_metadata_tells_name_version_requirements_and_extras(site, reader):
    site.add(
        "Hugging.Face_hub",
        "0.24.5.post1",
        requires=["requests>=2", 'torch>=1.4; extra == "Torch_GPU"'],
        extras=["Torch_GPU", "cli"],
    )
    found = reader.read().get("hugging-FACE.hub")
    assert found.name == "hugging-face-hub"
    assert found.version == Version("0.24.5.post1")
    assert [r.name for r in found.requires] == ["requests", "torch"]
    assert found.provides_extra == {"torch-gpu", "cli"}
    assert (found.defect, found.legacy, found.direct_url) == (None, False, None)


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("zope-interface-5.0.dist-info", "5.0"),  # old tools did not escape the name
        ("zope_interface-5.0 (copy).dist-info", "5.0"),
        ("zope_interface-5.0_cpu.dist-info", "5.0+cpu"),
    ],
)
def test_a_folder_that_uv_cannot_read_is_defect_and_its_metadata_tells(site, reader, folder, told):
    site.add("zope-interface", told, info=folder)
    found = reader.read().get("zope.interface")
    assert found.version == Version(told)
    assert "an invalid name" in found.defect


@pytest.mark.parametrize("version", ["2.3.1+rocm5.7", "1!2.0", "1.0.dev3", "2024.07.04", "1.0-1"])
def test_versions_of_every_form_are_read(site, reader, version):
    site.add("thing", version)
    assert reader.read().version("thing") == Version(version)


def test_what_is_not_installed_has_no_version(reader):
    installed = reader.read()
    assert installed.get("numpy") is None
    assert installed.version("numpy") is None
    assert list(installed.copies("numpy")) == []


def test_a_folder_that_is_missing_holds_nothing(tmp_path):
    assert InstalledReader([tmp_path / "gone"]).read().distributions == {}


def test_purelib_and_platlib_are_read_together(tmp_path):
    Site(tmp_path / "pure").add("one")
    Site(tmp_path / "plat").add("two")
    installed = InstalledReader([tmp_path / "pure", tmp_path / "plat"]).read()
    assert set(installed.distributions) == {"one", "two"}


def test_what_pip_is_about_to_remove_does_not_count(site, reader):
    site.add("thing", info="~hing-1.0.dist-info")
    assert reader.read().distributions == {}


# Looking again


def test_an_unchanged_environment_is_the_same_object(site, reader):
    site.add("one")
    site.add("two")
    first = reader.read()
    assert reader.read() is first


def test_only_what_changed_is_read_again(site, reader):
    site.add("one")
    site.add("two")
    before = reader.read()
    shutil.rmtree(site.folder / "two-1.0.dist-info")
    site.add("two", "2.0", files={})
    after = reader.read()
    assert after is not before
    assert after.distributions["one"] is before.distributions["one"]
    assert after.version("two") == Version("2.0")


@pytest.mark.parametrize("file", ["METADATA", "RECORD"])
def test_a_rewritten_file_is_read_again(site, reader, file):
    info = site.add("one")
    before = reader.read()
    fresh = info / f"{file}.new"
    fresh.write_bytes((info / file).read_bytes() + b"\n")
    fresh.replace(info / file)
    assert reader.read() is not before


def test_a_removed_and_a_new_distribution_show(site, reader):
    site.add("one")
    reader.read()
    shutil.rmtree(site.folder / "one-1.0.dist-info")
    site.add("two")
    assert set(reader.read().distributions) == {"two"}


def test_a_record_that_vanishes_shows(site, reader):
    info = site.add("one")
    assert reader.read().get("one").defect is None
    (info / "RECORD").unlink()
    assert "RECORD is missing" in reader.read().get("one").defect


def test_a_clone_by_hard_links_reads_the_same(site, tmp_path):
    site.add("one", requires=["two>=1"])
    clone = tmp_path / "clone"
    shutil.copytree(site.folder, clone, copy_function=os.link)
    original = InstalledReader([site.folder]).read().get("one")
    copied = InstalledReader([clone]).read().get("one")
    assert (copied.name, copied.version, copied.requires) == (
        original.name,
        original.version,
        original.requires,
    )
    assert copied.info == clone / "one-1.0.dist-info"


def was_opened(file: Path, action) -> bool:
    """Whether `action` reads a file; its access time is set back, so that it would show."""
    stat = file.stat()
    os.utime(file, ns=(stat.st_mtime_ns - 10**12, stat.st_mtime_ns))
    marked = file.stat().st_atime_ns
    action()
    return file.stat().st_atime_ns != marked


def test_looking_opens_no_file_of_an_unchanged_environment(site, reader):
    info = site.add("one")
    reader.read()
    assert not was_opened(info / "METADATA", reader.read)


def test_one_clone_after_another_is_read_from_what_is_known(site, tmp_path):
    info = site.add("one")
    metadata = MetadataCache()
    live = InstalledReader([site.folder], metadata)
    for number in range(3):  # passes, each with a stage of its own, and a change
        site.add(f"new-{number}")
        metadata.keep(live.read().all())
        stage = tmp_path / str(number)
        shutil.copytree(site.folder, stage, copy_function=os.link)
        assert not was_opened(info / "METADATA", InstalledReader([stage], metadata).read), number


def test_looking_opens_no_record_of_a_package_that_is_there_once(site, reader):
    # 46,000 files are not looked at for each package that somebody adds.
    info = site.add("one")
    assert not was_opened(info / "RECORD", reader.read)
    site.add("two")
    assert not was_opened(info / "RECORD", reader.read)
    assert was_opened(info / "RECORD", lambda: audit(reader.read()))


# Legacy egg-info


@pytest.mark.parametrize(
    ("folder", "name", "version"),
    [
        ("old_thing-1.2-py3.8.egg-info", "old-thing", "1.2"),
        ("old_thing-1.2-py3.8-linux-x86_64.egg-info", "old-thing", "1.2"),
        ("old_thing-1.2.egg-info", "old-thing", "1.2"),
        ("old_thing.egg-info", "old-thing", "0"),
    ],
)
@pytest.mark.parametrize("is_folder", [True, False])
def test_egg_info_is_read_and_needs_no_record(site, reader, folder, name, version, is_folder):
    path = site.folder / folder
    if is_folder:
        path.mkdir()
    else:
        path.touch()
    found = reader.read().get(name)
    assert found.version == Version(version)
    assert found.legacy
    assert missing_files(found) == ()
    assert audit(reader.read()) == {}


@pytest.mark.parametrize(
    ("folder", "name", "version"),
    [("a-1.egg-info", "a", "1"), ("a.egg-info", "real-name", "2.5")],
)
def test_the_metadata_of_an_egg_info_counts_where_its_name_tells_no_version(
    site, reader, folder, name, version
):
    (site.folder / folder).mkdir()
    (site.folder / folder / "PKG-INFO").write_text("Name: Real_Name\nVersion: 2.5\n\n")
    assert reader.read().version(name) == Version(version)


def develop(site: Site, project: Path, name: str, *, link: str | None = None) -> Path:
    """As `setup.py develop` leaves it; the egg-link."""
    info = project / f"{name}.egg-info"
    info.mkdir(parents=True)
    (info / "PKG-INFO").write_text(f"Name: {name}\nVersion: 2.4.0a0\nRequires-Dist: absent\n\n")
    path = site.folder / f"{link or name}.egg-link"
    path.write_text(f"{project}\n.")
    return path


def test_a_project_in_development_is_installed(site, reader, tmp_path):
    develop(site, tmp_path / "other", "Old_Name", link="old-name")
    link = develop(site, tmp_path / "project", "torch")
    installed = reader.read()
    found = installed.get("torch")
    assert (found.version, found.info, found.legacy) == (Version("2.4.0a0"), link, True)
    assert [r.name for r in found.requires] == ["absent"]
    assert found.files() == missing_files(found) == ()
    assert installed.version("old.name") == Version("2.4.0a0")
    assert audit(installed) == {}
    assert reader.read() is installed


@pytest.mark.parametrize("text", ["", "/nowhere\n.", "relative\n.", "\0", "{other}\n."])
def test_an_egg_link_that_leads_nowhere_is_defect(site, reader, tmp_path, text):
    develop(site, tmp_path / "other", "other")
    (site.folder / "thing.egg-link").write_text(text.format(other=tmp_path / "other"))
    assert "is gone" in audit(reader.read())["thing"]


# Real environments


@pytest.mark.parametrize("short", [f"3.{minor}" for minor in range(8, 14)])
def test_every_python_of_this_machine_is_read_where_it_installs(short, tmp_path):
    if short not in pythons():
        pytest.skip(f"no Python {short} here")
    venv = make_venv(tmp_path / "venv", short)
    wheels = [
        make_wheel(tmp_path, "pure", "1.0", scripts={"pure": "pure:main"}),
        make_wheel(tmp_path, "plat", "2.0", tag=f"py3-none-linux_{os.uname().machine}"),
    ]
    install(venv, *wheels)
    interpreter = inspect(venv / "bin" / "python")
    assert interpreter.markers["python_version"] == short
    assert interpreter.is_venv
    assert interpreter.prefix == venv.resolve()
    reader = InstalledReader(interpreter.site_directories)
    installed = reader.read()
    assert {n: str(d.version) for n, d in installed.distributions.items()} == snapshot(venv)
    assert audit(installed) == {}
    (venv / "bin" / "pure").unlink()
    assert set(audit(reader.read())) == {"pure"}
    uninstall(venv, "plat")
    assert set(reader.read().distributions) == {"pure"}


def test_an_editable_install_is_read_with_its_place(tmp_path, venv):
    source = tmp_path / "src"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "0.3"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(_EDITABLE_BACKEND)
    install(venv, "-e", source)
    reader = InstalledReader([site_packages(venv)])
    found = reader.read().get("mine")
    assert found.version == Version("0.3")
    assert found.direct_url.editable
    assert found.direct_url.url == source.as_uri()
    assert audit(reader.read()) == {}


_EDITABLE_BACKEND = """
import os, zipfile
NAME = "mine-0.3-py3-none-any.whl"
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(os.path.join(folder, NAME), "w") as wheel:
        wheel.writestr("mine.pth", os.getcwd())
        wheel.writestr("mine-0.3.dist-info/METADATA",
                       "Metadata-Version: 2.1\\nName: mine\\nVersion: 0.3\\n")
        wheel.writestr("mine-0.3.dist-info/WHEEL",
                       "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("mine-0.3.dist-info/RECORD", "mine.pth,,\\nmine-0.3.dist-info/METADATA,,\\n"
                       "mine-0.3.dist-info/WHEEL,,\\nmine-0.3.dist-info/RECORD,,\\n")
    return NAME
build_wheel = build_editable
"""
