"""Whatever is required, from wherever, a held package stays, and what can be had is had."""

import pytest

from reconciler.config import Update
from reconciler.status import PackageStatus, Result
from reconciler.uv.program import NetworkTrouble
from tests.holds.sources import NOWHERE, make_local_project, prepend
from tests.holds.stand import BASE, BESIDE, DECLARED, HELD, REACHED, failed_names
from tests.support.environments import install, uninstall
from tests.support.thorough import sample
from tests.support.torch import fake_torch, fake_torchvision
from tests.support.wheels import make_sdist, make_wheel


def explicit(url: str) -> str:
    return f'[[tool.uv.index]]\nname = "rocm"\nurl = "{url}"\nexplicit = true\n'


class TestPlaces:
    """Where torch should come from, if it were up to the project."""

    @pytest.mark.parametrize(
        "source",
        sample(
            every=2,
            family=[
                '{index = "rocm"}',
                f'{{url = "{NOWHERE}/torch-2.8.0-py3-none-any.whl"}}',
                '{path = "bait/torch-2.8.0-py3-none-any.whl"}',
                '{path = "../torch", editable = true}',
                f'{{git = "{NOWHERE}/torch.git"}}',
                '[{index = "rocm", marker = "sys_platform == \'linux\'"}]',
            ],
        ),
    )
    def test_a_source_of_a_held_package_is_never_asked(self, stand, source):
        self.assert_not_asked(stand, f"torch = {source}")

    def test_a_source_under_another_spelling_is_never_asked(self, stand):
        self.assert_not_asked(stand, 'Torch = {index = "rocm"}')

    def assert_not_asked(self, stand, source):
        before = stand.fingerprint()
        extra = f"[tool.uv.sources]\n{source}\n{explicit(NOWHERE)}"
        stand.project.write(DECLARED, extra=extra)
        stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == REACHED

    @pytest.mark.parametrize(
        "requirement",
        sample(
            every=2,
            family=[
                f"torch @ {NOWHERE}/torch-2.8.0-py3-none-any.whl",
                "torch @ {served}",
                "Torch @ {served} ; sys_platform == 'linux'",
                f"torch @ git+{NOWHERE}/torch.git@main",
                "torch @ file:///nowhere/torch-2.8.0-py3-none-any.whl",
            ],
        ),
    )
    def test_a_direct_url_of_a_held_package_is_never_fetched(self, stand, requirement):
        before = stand.fingerprint()
        served = stand.index.file_url("torch-2.8.0-py3-none-any.whl")
        stand.project.write(["accelerate", *BESIDE, requirement.format(served=served)])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == REACHED
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
        told = PackageStatus.HELD if "git+" in requirement else PackageStatus.HELD_MISMATCH
        assert row.status is told  # a repository does not say which version it has

    def test_an_index_before_the_others_that_has_only_torch(self, stand, make_index, tmp_path):
        before = stand.fingerprint()
        first = make_index()
        first.add(fake_torch(tmp_path, "2.3.1+zzz"), fake_torchvision(tmp_path, "0.30.0"))
        text = stand.project.text(DECLARED)
        table = f'[[tool.uv.index]]\nname = "pytorch"\nurl = "{first.url}"\n'
        stand.project.write_text(text.replace("[[tool.uv.index]]", f"{table}[[tool.uv.index]]"))
        stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == REACHED
        assert [r for r in first.requests if "torch" in r.path] == []

    @pytest.mark.parametrize("status", sample([403, 404, 500], every=2))
    def test_an_index_that_refuses_to_talk_about_torch(self, stand, status):
        before = stand.fingerprint()
        stand.index.fail(status, for_name="torch")
        stand.project.write(DECLARED)
        stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == REACHED

    def test_an_index_for_everything_that_is_down_fails_the_pass_and_nothing_else(self, stand):
        before = stand.fingerprint()
        stand.variables["UV_HTTP_RETRIES"] = "0"
        table = f'[[tool.uv.index]]\nname = "rocm"\nurl = "{NOWHERE}"\n'
        stand.project.write(DECLARED)
        text = stand.project.path.read_text()
        stand.project.write_text(text.replace("[[tool.uv.index]]", f"{table}[[tool.uv.index]]"))
        with pytest.raises(NetworkTrouble):
            stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == {**HELD, "leftover": "1.0"}

    @pytest.mark.parametrize("same", [True, False], ids=["same-version", "higher-local-versions"])
    @pytest.mark.parametrize("update", list(Update))
    def test_an_index_with_other_builds_of_the_held_version(self, stand, tmp_path, same, update):
        before = stand.fingerprint()
        stand.index.remove("torch")
        locals_ = ["rocm5.7"] if same else ["zzz", "rocm7.0", "rocm10.0"]
        for local in locals_:
            stand.index.add(fake_torch(tmp_path, f"2.3.1+{local}", files=1))
            stand.index.add(fake_torchvision(tmp_path, f"0.18.1+{local}", requires=["numpy"]))
        stand.index.add(make_wheel(tmp_path, "pytorch-triton-rocm", "2.3.1"))
        stand.settings["update"] = update
        stand.project.write(["accelerate", *BESIDE, "torch>=2.3.1", "torchvision"])
        stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == REACHED

    @pytest.mark.parametrize(
        "source",
        sample(
            ['{index = "rocm"}', '{url = "%s"}', '{path = "torch-2.8.0-py3-none-any.whl"}'], every=2
        ),
    )
    def test_a_local_project_with_a_source_of_its_own(self, stand, tmp_path, source):
        before = stand.fingerprint()
        served = stand.index.file_url("torch-2.8.0-py3-none-any.whl")
        folder = tmp_path / "mylib"
        make_local_project(folder, ["torch>=2.0"], source.replace("%s", served))
        extra = f'[tool.uv.sources]\nmylib = {{path = "{folder}"}}\n'
        stand.project.write(["mylib", *BESIDE], extra=extra)
        stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == {**BASE, "mylib": "1.0"}


class TestDependents:
    """What other packages want of torch."""

    @pytest.mark.parametrize(
        "spelling", sample(["Torch>=2.8", "TORCH==2.8.0", "torch[cuda]", "TorchVision==0.23.0",
                            "pytorch_triton_rocm==9.0", "Pytorch.Triton-ROCM"], every=2)
    )  # fmt: skip
    def test_other_spellings_of_a_held_name(self, stand, spelling):
        before = stand.fingerprint()
        stand.project.write([spelling, *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == BASE
        assert outcome.failed == ()

    def test_a_name_that_only_looks_like_a_held_one(self, stand):
        # By PEP 503, torch_vision is torch-vision, which nobody has ever heard of.
        before = stand.fingerprint()
        stand.project.write(["torch_vision", *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == BASE
        assert failed_names(outcome) == {"torch-vision": "NoSolution"}

    @pytest.mark.parametrize(
        ("requirement", "expected"),
        sample(
            every=2,
            family=[
                ("diffusers[torch]", {"accelerate": "0.9", "diffusers": "0.30.0"}),
                ("transformers[torch]", {"accelerate": "0.9", "transformers": "4.44.0"}),
                ("safetensors[Torch]", {"safetensors": "0.4.3"}),
            ],
        ),
    )
    def test_an_extra_that_pulls_torch(self, stand, requirement, expected):
        before = stand.fingerprint()
        stand.project.write([requirement, *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        packages = stand.packages()
        assert expected.items() <= packages.items()
        assert not {"triton", "nvidia-cublas-cu12"} & packages.keys()
        assert outcome.result is Result.CHANGED

    @pytest.mark.parametrize("update", list(Update))
    def test_an_extra_of_the_held_package_itself(self, stand, tmp_path, update):
        uninstall(stand.venv, "torch", "torchvision")
        extras = {"opt-einsum": ["six", "triton"], "other": ["tqdm"]}
        pins = ["pytorch-triton-rocm==2.3.1", "sympy<1.13"]
        torch = make_wheel(tmp_path, "torch", HELD["torch"], requires=pins, extras=extras)
        install(stand.venv, torch)
        before = stand.fingerprint()
        stand.settings |= {"update": update, "hold": ("torch", "triton")}
        stand.project.write(["Torch[opt_einsum]>=2", *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        packages = stand.packages()
        assert "six" in packages
        assert not {"tqdm", "triton"} & packages.keys()
        assert outcome.failed == ()
        assert outcome.snapshot.drift.in_sync

    @pytest.mark.parametrize("declared", [["xformers"], ["xformers", "torch==2.8.0"]])
    def test_a_dependent_that_pins_another_torch_is_left_out(self, stand, declared):
        before = stand.fingerprint()
        stand.project.write([*declared, *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == BASE
        assert failed_names(outcome) == {"xformers": "NoSolution"}
        assert "torch==2.3.1+rocm5.7" in outcome.failed[0].message

    def test_a_dependent_of_a_dependent_that_pins_another_torch(self, stand, tmp_path):
        before = stand.fingerprint()
        stand.index.add(make_wheel(tmp_path, "studio-tools", "1.0", requires=["xformers"]))
        stand.project.write(["studio-tools", *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == BASE
        assert failed_names(outcome) == {"studio-tools": "NoSolution"}

    def test_a_dependent_that_requires_torch_by_url(self, stand, tmp_path):
        before = stand.fingerprint()
        served = stand.index.file_url("torch-2.8.0-py3-none-any.whl")
        stand.index.add(make_wheel(tmp_path, "byurl", "1.0", requires=[f"torch @ {served}"]))
        stand.project.write(["byurl", *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == BASE
        assert failed_names(outcome) == {"byurl": "NoSolution"}

    def test_an_installed_dependent_that_requires_the_held_torch_by_url(
        self, stand, venv, tmp_path
    ):
        """uv would refuse such a package, however it is installed."""
        there = f"{NOWHERE}/torch-2.3.1%2Brocm5.7-py3-none-any.whl"
        requires = [f"torch @ {there}", 'tqdm ; extra == "more"']
        install(venv, make_wheel(tmp_path, "same", "1.0", requires=requires))
        install(venv, make_wheel(tmp_path, "bygit", "1.0", requires=[f"torch @ git+{NOWHERE}"]))
        before = stand.fingerprint()
        stand.project.write(["same[more]", "bygit", *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert failed_names(outcome) == {}
        beside = {"same": "1.0", "bygit": "1.0", "tqdm": "4.66.4"}
        assert stand.packages() == {**BASE, **beside}

    def test_a_local_project_that_requires_torch_by_url(self, stand, tmp_path):
        before = stand.fingerprint()
        served = stand.index.file_url("torch-2.8.0-py3-none-any.whl")
        make_local_project(tmp_path / "mylib", [f"torch @ {served}"])
        there = f"{NOWHERE}/torch-2.3.1%2Brocm5.7-py3-none-any.whl"
        make_local_project(tmp_path / "ours", [f"torch @ {there}", "tqdm ; os_name == 'posix'"])
        extra = (
            f'[tool.uv.sources]\nmylib = {{path = "{tmp_path / "mylib"}"}}\n'
            f'ours = {{path = "{tmp_path / "ours"}"}}\n'
        )
        stand.project.write(["mylib", "ours", *BESIDE], extra=extra)
        outcome = stand.reconcile()
        assert stand.fingerprint() == before
        assert stand.packages() == {**BASE, "ours": "1.0", "tqdm": "4.66.4"}
        assert failed_names(outcome) == {"mylib": "NoSolution"}
        assert stand.reconcile().changes == ()

    @pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
    def test_an_sdist_whose_build_requires_torch(self, stand, tmp_path, static):
        before = stand.fingerprint()
        sdist = make_sdist(
            tmp_path, "flashy", "1.0", requires=["torch"], build_requires=["torch"],
            static_metadata=static,
        )  # fmt: skip
        stand.index.add(sdist)
        stand.project.write(["flashy", *BESIDE])
        outcome = stand.reconcile()
        assert stand.fingerprint() == before
        assert [d for d in stand.index.downloads() if "torch" in d] == []
        assert stand.packages() == BASE
        assert failed_names(outcome) == {"flashy": "BuildFailed"}
        assert "no-build-isolation-package" in outcome.failed[0].message

    def test_an_sdist_that_is_built_beside_the_held_torch(self, stand, tmp_path):
        before = stand.fingerprint()
        sdist = make_sdist(tmp_path, "flashy", "1.0", build_requires=["torch"])
        stand.index.add(sdist)
        extra = '[tool.uv]\nno-build-isolation-package = ["flashy"]\n'
        stand.project.write(["flashy", *BESIDE], extra=extra)
        stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == {**BASE, "flashy": "1.0"}

    def test_an_sdist_that_wants_the_torch_it_will_run_with(self, stand, tmp_path):
        before = stand.fingerprint()
        stand.index.add(make_sdist(tmp_path, "flashy", "1.0", requires=["torch"]))
        extra = """
            [tool.uv.extra-build-dependencies]
            flashy = [{requirement = "torch", match-runtime = true}]
        """
        stand.project.write(["flashy", *BESIDE], extra=extra)
        outcome = stand.reconcile()
        assert stand.fingerprint() == before
        assert [d for d in stand.index.downloads() if "torch" in d] == []
        assert stand.packages() == BASE
        assert failed_names(outcome) == {"flashy": "BuildFailed"}
        assert "no-build-isolation-package" in outcome.failed[0].message

    def test_an_sdist_that_imports_torch_and_does_not_say_so(self, stand, tmp_path):
        before = stand.fingerprint()
        sdist = make_sdist(tmp_path, "flashy", "1.0")
        prepend(sdist, "backend.py", "import torch\n")
        stand.index.add(sdist)
        stand.project.write(["flashy", *BESIDE])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == BASE
        assert "no-build-isolation-package" in outcome.failed[0].message
