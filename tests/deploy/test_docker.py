"""deploy/Dockerfile: its instructions, what it copies and its versions, which are the project's. Builds nothing."""

import re
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
KNOWN = {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD", "RUN"}
KNOWN |= {"SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}  # docs.docker.com/reference/dockerfile
# Where the GPU build of vLLM asks for another version than the CPU build.
OTHERS = {"apache-tvm-ffi", "grpcio-reflection", "protobuf", "torch"}


@dataclass(frozen=True, kw_only=True)
class Instruction:
    name: str
    value: str
    stage: str  # empty before the first FROM


def instructions(text: str) -> list[Instruction]:
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines()
    found, stage = [], ""
    for line in filter(str.strip, lines):
        name, _, value = line.strip().partition(" ")
        if name == "FROM":
            stage = value.split()[-1]
        found.append(Instruction(name=name, value=value, stage=stage))
    return found


def of_kind(name: str) -> list[Instruction]:
    return [instruction for instruction in instructions(FILE.read_text()) if instruction.name == name]


def versions(file: str) -> dict[str, str]:
    """Versions by package of a file of requirements. Raises if one is not pinned."""
    pinned = {}
    for line in (ROOT / file).read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            pinned[canonicalize_name(requirement.name)] = specifier.version
    return pinned


CPU, GPU, STORE = map(
    versions, ("requirements-cpu.txt", "deploy/requirements-gpu.txt", "deploy/requirements-store.txt")
)


def unmet(requirements: list[str], installed: dict[str, str]) -> list[str]:
    parsed = [Requirement(requirement) for requirement in requirements]
    return [
        str(one)
        for one in parsed
        if not one.specifier.contains(installed.get(canonicalize_name(one.name), "0").partition("+")[0])
    ]


def test_docker_knows_every_instruction():
    found = {instruction.name for instruction in instructions(FILE.read_text())}
    assert "RUN" in found
    assert found <= KNOWN
    assert {instruction.name for instruction in instructions("RUM pip\\\n install")} == {"RUM"}


def test_there_is_an_image_for_cpus_and_one_for_gpus():
    stages = {found.stage: found.value.split()[0] for found in of_kind("FROM")}
    assert stages == {
        "source": "scratch",
        "cpu": "rayproject/ray:${RAY}-py311-cpu",
        "gpu": "rayproject/ray:${RAY}-py311-gpu",
    }
    assert {"cpu", "gpu"} == set(re.findall(r"docker build .*--target (\w+)", FILE.read_text()))


def test_what_is_copied_exists_and_reaches_the_builder():
    ignore = (FILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [pattern.removeprefix("!") for pattern in ignore if pattern.startswith("!")]
    assert ignore[1] == "*"
    for copy in of_kind("COPY"):
        words = [word for word in copy.value.split() if not word.startswith("--chown=")]
        if words[0] == "--from=source":
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, pattern) for pattern in kept), source


def test_all_packages_of_the_project_are_copied():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {copy.value.split()[0] for copy in of_kind("COPY") if copy.stage == "source"}
    assert {name.removesuffix("*") for name in package} <= copied


def test_ray_is_the_projects():
    (argument,) = of_kind("ARG")
    (ray,) = (Requirement(one) for one in PROJECT["dependencies"] if one.startswith("ray["))
    version = argument.value.removeprefix("RAY=")
    assert str(ray.specifier) == f"=={version}"
    assert CPU["ray"] == GPU["ray"] == version
    for name in ("ray-cluster.yaml", "ray-job.yaml"):
        spec = yaml.safe_load((ROOT / "deploy" / name).read_text())["spec"]
        assert spec.get("rayClusterSpec", spec)["rayVersion"] == version


@pytest.mark.parametrize(
    "file", ["cluster.yaml", "deploy/cluster-gcp.yaml", "deploy/ray-cluster.yaml", "deploy/ray-job.yaml"]
)
def test_the_tag_of_the_image_is_the_projects_version(file):
    tags = re.findall(r"image: .*?/offmodel:([\w.]+)", (ROOT / file).read_text())
    assert tags == [PROJECT["version"]]
    assert f"--tag offmodel:{PROJECT['version']} ." in FILE.read_text()


def test_images_install_files_of_pinned_versions_only():
    installed = re.findall(r"--requirement (\S+)", "\n".join(run.value for run in of_kind("RUN")))
    assert [Path(file).name for file in installed] == [
        *("requirements-cpu.txt", "requirements-store.txt"),
        *("requirements-gpu.txt", "requirements-store.txt"),
    ]
    assert all("--no-deps" in run.value for run in of_kind("RUN") if "pip install" in run.value)


def test_the_gpu_image_meets_the_projects_requirements():
    extras = PROJECT["optional-dependencies"]
    assert unmet([*PROJECT["dependencies"], *extras["gpu"]], GPU) == []
    assert unmet([*extras["cluster"], *extras["google"]], STORE) == []
    assert unmet(["torch==2.0"], GPU) == ["torch==2.0"]


def test_the_gpu_image_has_the_versions_of_the_tests():
    assert {name for name in GPU.keys() & CPU.keys() if GPU[name] != CPU[name]} == OTHERS


def test_packages_for_stores_fit_both_images():
    assert STORE.keys().isdisjoint(CPU)
    assert STORE.keys().isdisjoint(GPU)
    tested = versions("requirements-dev.txt")
    assert {name for name in STORE.keys() & tested.keys() if STORE[name] != tested[name]} == set()
