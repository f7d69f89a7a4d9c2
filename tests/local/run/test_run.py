"""``modelbuild local run``, with the real agent."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from modelbuild_local.buildkite.identity import slug_of
from modelbuild_local.laptop import State, running
from modelbuild_local.run import command as run_command
from modelbuild_local.run.client import Client
from waiting import SECONDS


def state_of(laptop: Any) -> State:
    """The laptop mode that runs."""
    state = running(laptop.repository)
    assert state is not None
    return state


def newest(laptop: Any) -> str:
    """The path of the newest build."""
    number = Client(state_of(laptop)).get("pipelines/tiny/builds")[0]["number"]
    return f"pipelines/tiny/builds/{number}"


def lines(process: subprocess.Popen[str], last: str) -> list[str]:
    """What a running command says, up to the line that holds ``last``."""
    assert process.stdout is not None
    message: list[str] = []
    while not message or last not in message[-1]:
        line = process.stdout.readline()
        assert line, f"ended without '{last}': {''.join(message)}"
        message.append(line)
    return message


def test_a_build_that_passes(laptop: Any) -> None:
    """The commit's own pipeline runs; lines name their step; annotations show; --yes takes defaults; 0."""
    code, output = laptop.run("run", "--yes", "--env", "COLOUR=blue")
    assert code == 0, output
    printed = output.splitlines()
    for line in (
        "left             | left 1",
        "left             | in all 42",
        "left             | +++ Numbers",
    ):
        assert line in printed
    assert "right            | colour is blue" in printed
    assert "right            | variable STRICT_COLOUR" in printed
    assert "after            | it was nobody" in printed
    assert "[success: note]" in printed
    assert "  Fine page (https://example.org)" in printed
    page = r"http://127\.0\.0\.1:\d+/local/tiny/builds/\d+\?key=\S+"
    assert re.fullmatch(rf"Build \d+ of tiny, commit [0-9a-f]{{12}}: {page}", printed[0])
    assert printed[-1].startswith("Build passed after")


def test_jobs_get_no_token_of_people(laptop: Any) -> None:
    """The environment of a job has addresses, but neither the REST token nor the W&B key."""
    code, output = laptop.run("run", "--yes")
    assert code == 0, output
    state = state_of(laptop)
    names = set(re.findall(r"variable (\w+)$", output, re.MULTILINE))
    assert {"AWS_ENDPOINT_URL", "BUILDKITE_API_URL", "WANDB_BASE_URL", "MODELBUILD_PYTHON"} <= names
    assert not names & {"BUILDKITE_API_TOKEN", "WANDB_API_KEY"}
    assert state.api_token not in output
    assert state.wandb_key not in output


def test_a_build_that_fails(laptop: Any) -> None:
    """A failing step fails the build: exit 1, its exit status is shown, and no later step runs."""
    code, output = laptop.run("run", "--pipeline", "fails.yml")
    assert code == 1
    assert "breaks           | failed with exit status 7" in output
    assert "| before" in output
    assert "never" not in output


def test_yes_never_opens_what_the_api_is_to_open(laptop: Any) -> None:
    """A block that hands over a training's result stays closed under --yes until the API opens it."""
    process = laptop.start("run", "--yes", "--pipeline", "api.yml")
    lines(process, "training         | waits for the training, which unblocks it")
    client, build = Client(state_of(laptop)), newest(laptop)
    (job,) = client.get(f"{build}/jobs?step_key=training")["items"]
    assert job["state"] == "blocked"
    client.put(f"{build}/jobs/{job['id']}/unblock", {"fields": {"training/status": "succeeded"}})
    output, _ = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, output
    assert client.get(build)["meta_data"]["training/status"] == "succeeded"


def test_without_a_person_it_says_where_to_unblock(laptop: Any) -> None:
    """With neither a terminal nor --yes, a block for people is left to the build page, and waited for."""
    process = laptop.start("run", "--pipeline", "person.yml")
    printed = lines(process, "approve: waits to be unblocked at")
    client, build = Client(state_of(laptop)), newest(laptop)
    assert client.get(build)["web_url"] in printed[-1]
    (job,) = client.get(f"{build}/jobs?step_key=approve")["items"]
    assert job["state"] == "blocked"
    client.put(f"{build}/jobs/{job['id']}/unblock", {"fields": {"name": "Ada"}})
    assert process.wait(2 * SECONDS) == 0


def test_yes_cannot_fill_in_what_has_no_default(laptop: Any) -> None:
    """A required field without a default ends the run with a sentence, and the build is cancelled."""
    code, output = laptop.run("run", "--yes", "--pipeline", "person.yml")
    assert code == 10
    assert "field name of the block 'approve' is required and has no default" in output
    assert Client(state_of(laptop)).get(newest(laptop))["state"] == "canceled"


def test_a_person_at_a_terminal_is_asked(laptop: Any) -> None:
    """In a terminal the fields of a block are asked for, and what is typed is what the build gets."""
    ours, theirs = pty.openpty()
    process = laptop.start("run", "--pipeline", "person.yml", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    for prompt, answer in [(b"Name: ", b"Ada\n"), (b"Unblock? [Y/n]: ", b"\n")]:
        while not shown.endswith(prompt):
            shown += os.read(ours, 1)
        os.write(ours, answer)
    while True:
        try:
            shown += os.read(ours, 1024)
        except OSError:
            break
    assert process.wait(2 * SECONDS) == 0, shown.decode()
    os.close(ours)
    assert Client(state_of(laptop)).get(newest(laptop))["meta_data"]["name"] == "Ada"


def test_ctrl_c_at_a_question_cancels_the_build(laptop: Any) -> None:
    """Ctrl-C ends the run at the question for a field as at any other time."""
    ours, theirs = pty.openpty()
    process = laptop.start("run", "--pipeline", "person.yml", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"Name: "):
        shown += os.read(ours, 1)
    process.send_signal(signal.SIGINT)
    # readline looks for a signal that came before it waits only when it has read something.
    os.write(ours, b"\n")
    assert process.wait(2 * SECONDS) == 130
    os.close(ours)
    assert Client(state_of(laptop)).get(newest(laptop))["state"] == "canceled"


def test_two_runs_at_once_build_their_own_commits(laptop: Any, tmp_path: Path) -> None:
    """A job of the first run sees the files of its commit, also when the second one checks out another."""
    first_go, second_go = tmp_path / "first", tmp_path / "second"
    second_go.touch()
    first = laptop.start("run", "--pipeline", "held.yml", "--env", f"GO={first_go}")
    lines(first, "| begun")
    (laptop.repository / "README").write_text("Goodbye\n")
    commit = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qam", "Goodbye"]
    subprocess.run(["git", "-C", str(laptop.repository), *commit], check=True)
    code, output = laptop.run("run", "--pipeline", "held.yml", "--env", f"GO={second_go}")
    assert (code, "| Goodbye" in output) == (0, True), output
    first_go.touch()
    output, _ = first.communicate(timeout=2 * SECONDS)
    assert (first.returncode, "| Hello" in output) == (0, True), output


def test_agents_end_what_they_run_for_another_build(laptop: Any, tmp_path: Path) -> None:
    """A build that begins on the page is run by the agents of a run, which ends after it."""
    go = tmp_path / "go"
    process = laptop.start("run", "--pipeline", "api.yml")
    lines(process, "waits for the training")
    client, build = Client(state_of(laptop)), newest(laptop)
    (job,) = client.get(f"{build}/jobs?step_key=training")["items"]
    commit = client.get(build)["commit"]
    env = {"LOCAL_PIPELINE_FILE": "held.yml", "GO": str(go)}
    other = client.post(
        "pipelines/tiny/builds", {"commit": commit, "branch": "main", "message": "x", "env": env}
    )
    path = f"pipelines/tiny/builds/{other['number']}"

    def begun() -> bool:
        return any(job["name"] == "held" and job["state"] == "running" for job in client.get(path)["jobs"])

    laptop.until(begun, "the job of the other build")
    client.put(f"{build}/jobs/{job['id']}/unblock", {"fields": {"training/status": "succeeded"}})
    assert other["web_url"] in lines(process, "The agents also run jobs of")[-1]
    go.touch()
    assert process.wait(2 * SECONDS) == 0
    assert client.get(path)["state"] == "passed"


def test_the_settings_of_an_installed_agent_do_not_apply(laptop: Any) -> None:
    """The agents of a run do not read the file of settings of an agent that is installed on this machine."""
    # The agent makes a socket in the home folder, whose path must be short.
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / ".buildkite-agent" / "buildkite-agent.cfg"
        settings.parent.mkdir()
        settings.write_text('no-plugins=true\ntags="queue=elsewhere"\n')
        process = laptop.start("run", "--yes", env={**os.environ, "HOME": home})
        output, _ = process.communicate(timeout=3 * SECONDS)
    assert process.returncode == 0, output
    assert "right            | variable STRICT_COLOUR" in output


def test_ctrl_c_cancels_the_build(laptop: Any) -> None:
    """Ctrl-C cancels the build, stops the agents and the job's processes, and exits with 130."""
    process = laptop.start("run", "--pipeline", "slow.yml", start_new_session=True)
    pid = int(lines(process, "| begun")[-1].split()[-1])
    assert laptop.alive(pid)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 130, output
    assert Client(state_of(laptop)).get(newest(laptop))["state"] == "canceled"
    data = str(state_of(laptop).data)
    found = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert [line for line in found.splitlines() if data in line and "supervisor" in line] == []
    assert not laptop.alive(pid)


def test_killed_run_leaves_no_agent(laptop: Any) -> None:
    """Agents end with the command that started them, even when it is killed."""
    process = laptop.start("run", "--pipeline", "api.yml")
    lines(process, "waits for the training")
    data = str(state_of(laptop).data)

    def agents() -> list[str]:
        found = subprocess.run(
            ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
        return [line for line in found.splitlines() if data in line and "--spawn" in line]

    assert agents()
    process.kill()
    process.communicate(timeout=2 * SECONDS)
    laptop.until(lambda: not agents(), "the agents to end")


def test_agents_that_end_by_themselves(laptop: Any) -> None:
    """When the agents end before the build does, local run ends with one sentence that names their log."""
    process = laptop.start("run", "--pipeline", "api.yml")
    lines(process, "waits for the training")
    data = str(state_of(laptop).data)
    found = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout
    (agents,) = [
        line for line in found.splitlines() if data in line and "--spawn" in line and "supervisor" not in line
    ]
    os.kill(int(agents.split()[0]), signal.SIGTERM)
    output, _ = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 12
    assert re.search(r"the agents ended with exit code \d+: see .*agent\.log", output)


def test_what_cannot_be_built_is_reported_at_once(laptop: Any, new_laptop: Any) -> None:
    """A pipeline file outside the commit, a wrong variable, nothing running: a sentence for each."""
    for command, sentence in [
        (["--pipeline", "missing.yml"], "missing.yml is not in commit"),
        (["--pipeline", "a folder"], "file a folder is not in commit"),
        (["--pipeline", "../elsewhere.yml"], "name a file of the repository"),
        (["--env", "COLOUR"], "--env COLOUR is not of the form NAME=VALUE"),
    ]:
        code, output = laptop.run("run", *command)
        assert (code, sentence in output, "Traceback" in output) == (10, True, False), output
    code, output = new_laptop.run("run")
    assert code == 10
    assert "start it with modelbuild local up" in output


def test_another_pipeline_of_the_repository_is_left_alone(laptop: Any) -> None:
    """A pipeline that was made over the API for the same repository is not the one that is built."""
    client = Client(state_of(laptop))
    steps = "steps: [{command: 'echo another pipeline; exit 1'}]"
    other = {"name": "a-tiny", "repository": str(laptop.repository), "configuration": steps}
    client.post("pipelines", other)
    code, output = laptop.run("run", "--pipeline", "a folder/one more.yml")
    assert code == 0, output
    assert "from the file with spaces" in output


class Twin(Client):
    """A Buildkite with these pipelines, in memory."""

    def __init__(self, pipelines: list[dict[str, str]]) -> None:
        self.pipelines = pipelines

    def get(self, path: str) -> Any:
        """The page of the list of pipelines."""
        number, size = (int(part.partition("=")[2]) for part in path.partition("?")[2].split("&"))
        return self.pipelines[(number - 1) * size : number * size]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """A new pipeline."""
        assert path == "pipelines"
        self.pipelines.append({**body, "slug": slug_of(body["name"])})
        return self.pipelines[-1]


def test_the_pipeline_is_made_once_under_a_name_that_is_free() -> None:
    """The first build makes the pipeline, beside any others of its name or path; later builds find it."""
    others = [
        {"slug": f"p{number}", "repository": "/code/tiny", "configuration": "steps: [wait]"}
        for number in range(150)
    ]
    others[3]["slug"], others[149]["slug"] = "tiny", "tiny-2"
    client = Twin(others)
    assert run_command.pipeline_slug(client, Path("/code/tiny")) == "tiny-3"
    assert run_command.pipeline_slug(client, Path("/code/tiny")) == "tiny-3"
    assert run_command.pipeline_slug(client, Path("/else/tiny")) == "tiny-4"


def test_uncommitted_changes_are_pointed_out(laptop: Any) -> None:
    """What is not committed is not built, and the first line says so."""
    extra = laptop.repository / "draft.txt"
    extra.write_text("draft\n")
    try:
        _, output = laptop.run("run", "--pipeline", "fails.yml")
    finally:
        extra.unlink()
    assert output.splitlines()[0] == "The working tree has changes that are not committed; they are not built"


def test_supervisor_ends_its_command_with_its_input() -> None:
    """The supervisor stops its command when the input closes, and otherwise exits with its exit code."""
    supervisor = [sys.executable, "-m", "modelbuild_local.up.supervisor"]
    hold, _ = os.pipe()
    assert subprocess.run([*supervisor, "sh", "-c", "exit 3"], stdin=hold, check=False).returncode == 3
    process = subprocess.Popen([*supervisor, "sleep", "300"], stdin=subprocess.PIPE)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(2 * SECONDS) == -signal.SIGTERM % 256
