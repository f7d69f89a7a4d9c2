"""The step that provides the images of a commit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
NAMES = ("default", "train-gpu", "serve", "serve-onnx")

# A program that writes its calls down. The registry is a folder: what is pushed has a digest afterwards.
PROGRAM = r"""#!/usr/bin/env bash
set -u
name="$(basename "$0")"
echo "$name $*" >>"$CALLS"
for last; do :; done
key="$(printf '%s' "${last#docker://}" | tr '/:' '__')"
case "$name $1" in
"docker info" | "podman info") [[ " $ENGINES " == *" $name "* ]] ;;
"docker $FAILS" | "podman $FAILS") exit 125 ;;
"docker push" | "podman push")
  [ ! -e "$REMOTE/immutable" ] || { echo "tag is immutable" >&2; exit 1; }
  printf 'sha256:%064d' 7 >"$REMOTE/$key"
  if [ "$3" = --digestfile ]; then cp "$REMOTE/$key" "$4"; fi
  ;;
"docker manifest")
  [ -e "$REMOTE/$key" ] || exit 1
  printf '{\n "Descriptor": {\n  "digest": "%s"\n },\n' "$(cat "$REMOTE/$key")"
  printf ' "Layers": [{"digest": "sha256:%064d"}]\n}\n' 8
  ;;
"skopeo inspect") cat "$REMOTE/$key" 2>/dev/null ;;
"aws ecr") echo password ;;
"docker login" | "podman login") [ "$(cat)" = password ] ;;
esac
"""


@dataclass
class Agent:
    """A host of agents: what the step called there, and what it printed."""

    folder: Path
    engines: str = "docker podman"
    calls: list[str] = field(default_factory=list)
    printed: str = ""

    @property
    def remote(self) -> Path:
        """The tags that the registry has, each a file with the digest."""
        return self.folder / "remote"

    def run(self, **environ: str) -> int:
        """The exit code of the step."""
        log = self.folder / "calls"
        log.write_text("")
        done = subprocess.run(
            [ROOT / ".buildkite" / "images.sh"],
            env={
                "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "CALLS": str(log),
                "REMOTE": str(self.remote),
                "ENGINES": self.engines,
                "FAILS": "",
                "BUILDKITE_COMMIT": "c0ffee",
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.calls, self.printed = log.read_text().splitlines(), done.stdout + done.stderr
        return done.returncode

    def called(self, start: str) -> list[str]:
        """The calls that begin so."""
        return [call for call in self.calls if call.startswith(start)]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """An agent with both engines, and an empty registry."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "remote").mkdir()
    for name in ("docker", "podman", "skopeo", "aws", "buildkite-agent"):
        program = tmp_path / "bin" / name
        program.write_text(PROGRAM)
        program.chmod(0o755)
    return Agent(tmp_path)


@pytest.mark.parametrize("engines", ["", "docker", "podman", "docker podman"])
def test_without_a_registry_no_engine_is_called(engines: str, agent: Agent) -> None:
    """On a laptop the step builds nothing, whichever engine answers, and says so and how to build."""
    agent.engines = engines
    assert agent.run(BUILDKITE_TAG="v1.2.3") == 0
    assert agent.calls == []
    assert "IMAGE_REGISTRY is not set" in agent.printed
    assert "--env IMAGE_ENGINE=docker" in agent.printed


def test_images_are_built_without_a_registry_when_an_engine_is_named(agent: Agent) -> None:
    """IMAGE_ENGINE alone builds all images, which stay on the machine."""
    assert agent.run(IMAGE_ENGINE="podman") == 0
    assert len(agent.called("podman build")) == len(NAMES)
    assert len(agent.calls) == len(NAMES) + 1  # the first is the question whether the engine answers


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_images_are_pushed_and_recorded_by_the_digest_of_the_registry(engine: str, agent: Agent) -> None:
    """Each image is built for linux/amd64, pushed under the hash of its content, and recorded by digest."""
    agent.engines = engine
    assert agent.run(IMAGE_REGISTRY=REGISTRY) == 0
    for name in NAMES:
        (build,) = [call for call in agent.called(f"{engine} build") if f"docker/{name}/" in call]
        assert "--platform linux/amd64" in build
        tagged = re.search(rf"--tag ({REGISTRY}/{name}:[0-9a-f]{{16}}) \.$", build)
        assert tagged is not None
        assert [call for call in agent.called(f"{engine} push") if call.endswith(tagged[1])]
        digest = f"{REGISTRY}/{name}@sha256:{7:064d}"
        assert f"buildkite-agent meta-data set image/{REGISTRY}/{name}:c0ffee {digest}" in agent.calls


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_an_image_that_the_registry_has_is_not_built_again(engine: str, agent: Agent) -> None:
    """A second build of the same content asks the registry, builds nothing, and records the same digests."""
    agent.engines = engine
    agent.run(IMAGE_REGISTRY=REGISTRY)
    recorded = agent.called("buildkite-agent")
    assert agent.run(IMAGE_REGISTRY=REGISTRY) == 0
    assert agent.called("buildkite-agent") == recorded
    assert not agent.called(f"{engine} build")
    assert not agent.called(f"{engine} push")


def test_a_push_that_another_build_was_faster_with_is_no_failure(agent: Agent) -> None:
    """Where tags cannot be moved, the digest of the image that is there counts."""
    agent.run(IMAGE_REGISTRY=REGISTRY)
    (serve,) = [path for path in agent.remote.iterdir() if "_serve_" in path.name]
    kept = serve.read_text()
    program = agent.folder / "bin" / "docker"
    # The registry has the image only once this build has tried to push it.
    program.write_text(
        PROGRAM.replace('"docker push" |', f'"docker push") echo {kept} >"$REMOTE/$key"; exit 1 ;;\n#')
    )
    serve.unlink()
    assert agent.run(IMAGE_REGISTRY=REGISTRY) == 0
    assert (
        f"buildkite-agent meta-data set image/{REGISTRY}/serve:c0ffee {REGISTRY}/serve@{kept}" in agent.calls
    )


def test_a_push_that_is_refused_ends_the_step(agent: Agent) -> None:
    """Nothing is recorded of an image that is not in the registry."""
    (agent.remote / "immutable").touch()
    assert agent.run(IMAGE_REGISTRY=REGISTRY) == 1
    assert "could not be pushed" in agent.printed
    assert not agent.called("buildkite-agent")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("login", f"podman could not log in to {REGISTRY}: see above"),
        ("build", "docker/default/Dockerfile could not be built: see above"),
        ("pull", f"{REGISTRY}/default@sha256:{7:064d} could not be tagged as 1.2.3: see above"),
    ],
)
def test_an_engine_that_answers_and_fails_ends_the_step_with_1(
    command: str, sentence: str, agent: Agent
) -> None:
    """The 125 of an engine is not the step's, as the agent would report a job that never ran."""
    agent.engines = "podman"
    environ = {"IMAGE_REGISTRY": REGISTRY, "BUILDKITE_TAG": "v1.2.3", "FAILS": command}
    assert agent.run(**environ) == 1
    assert f"images: {sentence}" in agent.printed
    assert len(agent.called(f"podman {command}")) == 1


def test_a_failed_build_without_a_registry_ends_the_step_with_1(agent: Agent) -> None:
    """A laptop that cannot pull the base image is told what the build needs, and no other image is tried."""
    assert agent.run(IMAGE_ENGINE="podman", FAILS="build") == 1
    assert "podman has to reach the registry of its base image" in agent.printed
    assert len(agent.called("podman build")) == 1


def test_without_an_engine_the_step_fails(agent: Agent) -> None:
    """With a registry and no engine, the step says what the agent needs."""
    agent.engines = ""
    assert agent.run(IMAGE_REGISTRY=REGISTRY) == 1
    assert "neither docker nor podman" in agent.printed


@pytest.mark.parametrize(
    ("registry", "region"),
    [
        (REGISTRY, "us-east-1"),
        (f"{REGISTRY}/team", "us-east-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
    ],
)
def test_ecr_is_logged_in_to_in_its_own_region(registry: str, region: str, agent: Agent) -> None:
    """The password of ECR goes to the engine on standard input, for the host of the registry."""
    assert agent.run(IMAGE_REGISTRY=registry) == 0
    host = registry.split("/")[0]
    assert agent.called("aws") == [f"aws ecr get-login-password --region {region}"]
    assert agent.called("docker login") == [f"docker login --username AWS --password-stdin {host}"]


def test_other_registries_are_the_agents_own_business(agent: Agent) -> None:
    """No password is asked of AWS for a registry that is not ECR."""
    assert agent.run(IMAGE_REGISTRY="registry.example.com/123456789012.dkr.ecr.us-east-1.amazonaws.com") == 0
    assert not agent.called("aws")
    assert not agent.called("docker login")


@pytest.mark.parametrize("tag", ["v1.2.3", "1.2.3"])
def test_release_has_its_images_by_version(tag: str, agent: Agent) -> None:
    """The build of a release gives the same images its version as a tag, and does so once."""
    assert agent.run(IMAGE_REGISTRY=REGISTRY, BUILDKITE_TAG=tag) == 0
    for name in NAMES:
        assert f"docker tag {REGISTRY}/{name}@sha256:{7:064d} {REGISTRY}/{name}:1.2.3" in agent.calls
        assert f"docker push --quiet {REGISTRY}/{name}:1.2.3" in agent.calls
    assert agent.run(IMAGE_REGISTRY=REGISTRY, BUILDKITE_TAG=tag) == 0
    assert not agent.called("docker push")


def test_the_tag_follows_the_files_that_the_image_is_made_from(agent: Agent, tmp_path: Path) -> None:
    """Another version of a linter changes no image; another line of the package changes each."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    shutil.copy(ROOT / ".buildkite" / "images.sh", clone / ".buildkite" / "images.sh")
    for name in NAMES:
        shutil.copy(ROOT / "docker" / name / "Dockerfile", clone / "docker" / name / "Dockerfile")

    def tags(change: str) -> set[str]:
        if change:
            (clone / change).open("a").write("\n# changed\n")
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(
            ["git", "-C", clone, *identity, "commit", "--quiet", "-a", "--allow-empty", "-m", "x"], check=True
        )
        log = tmp_path / "clone-calls"
        log.write_text("")
        environ = {
            "PATH": f"{agent.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            **{"CALLS": str(log), "REMOTE": str(agent.remote), "ENGINES": "podman", "IMAGE_ENGINE": "podman"},
            "FAILS": "",
        }
        subprocess.run([clone / ".buildkite" / "images.sh"], env=environ, check=True, capture_output=True)
        return set(re.findall(r"--tag modelbuild/(\S+)", log.read_text()))

    first = tags("")
    assert len(first) == 4
    assert tags("requirements/dev.txt") == first
    assert {tag.split(":")[0] for tag in tags("requirements/serving.txt") - first} == {"serve"}
    assert {tag.split(":")[0] for tag in tags("requirements/serving-onnx.txt") - first} == {
        "serve",
        "serve-onnx",
    }
    assert not tags("python/src/modelbuild/errors.py") & first


@pytest.mark.parametrize("name", NAMES)
def test_base_images_are_pinned_by_digest(name: str) -> None:
    """What a tag of a registry names tomorrow does not change an image."""
    dockerfile = (ROOT / "docker" / name / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE_IMAGE=python:3\.12-slim-bookworm@sha256:[0-9a-f]{64}$", dockerfile, re.M)
