"""The GraphQL operations about runs: from an operation's variables to its answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelbuild_local.wandb import answers
from modelbuild_local.wandb.answers import Answer, node_id
from modelbuild_local.wandb.errors import Refused
from modelbuild_local.wandb.files import Files
from modelbuild_local.wandb.query import ordered, selected
from modelbuild_local.wandb.state import ENTITY, PROJECT, Alert, Run, Store, json_object, now, step_of

Variables = Mapping[str, Any]
Operation = Callable[[Variables], Answer]

_FIELDS = {
    "displayName": "name",
    "display_name": "name",
    "groupName": "group",
    "jobType": "job_type",
    "notes": "notes",
    "commit": "commit",
    "host": "host",
    "tags": "tags",
}


class RunOperations:
    """The SDK's operations on runs."""

    def __init__(self, store: Store, files: Files) -> None:
        self._store = store
        self._files = files

    def operations(self) -> dict[str, Operation]:
        """Each operation by the name that the SDK gives it."""
        return {
            "Viewer": self._viewer,
            "GetViewer": self._viewer,
            "GetDefaultEntity": self._viewer,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "OrganizationCoreWeaveOrganizationID": lambda _: {"entity": None},
            "GetProject": self._project,
            "IsProjectReadOnly": self._project,
            "UpsertBucket": self._upsert,
            "RunResumeStatus": self._resume_status,
            "RunStoppedStatus": self._run,
            "CreateRunFiles": self._create_files,
            "DeleteRun": self._delete,
            "NotifyScriptableRunAlert": self._alert,
            "Run": self._run,
            "RunState": self._run,
            "RunHistoryKeys": self._run,
            "Runs": self._runs,
            "RunFullHistory": self._history,
            "RunSampledHistory": self._sampled_history,
            "SampledHistoryPage": self._sampled_history,
            "RunParquetHistory": self._no_parquet,
            "HistoryPage": self._history_page,
            "RunFiles": self._run_files,
        }

    def find(self, variables: Variables) -> Run | None:
        """The run that an operation's variables name, or None."""
        entity, project = _owner(variables)
        # The SDK calls the run's own id "name" in most queries, and "run" or "runName" in some.
        id = variables.get("name") or variables.get("run") or variables.get("runName")
        return self._store.runs.get((entity, project, str(id)))

    def run(self, variables: Variables) -> Run:
        """The run that an operation's variables name. Refused (404): it does not exist."""
        run = self.find(variables)
        if run is None:
            raise Refused(404, "No such run")
        return run

    # Writing

    def _upsert(self, variables: Variables) -> Answer:
        run = self._by_node(variables["id"]) if variables.get("id") else self.find(variables)
        inserted = run is None
        if run is None:
            path = (*_owner(variables), str(variables.get("name") or secrets.token_hex(4)))
            if path in self._store.deleted:
                raise Refused(409, f"Run {path[2]} was created and deleted before: choose another id")
            run = self._store.new_run(*path)
        elif variables.get("host") and not variables.get("id"):
            # Only a new session sends its host, and a resumed one sends the run's id. So this is a new run
            # with an id that was used before.
            run.restart()
        if variables.get("host"):
            run.exit_code = None
        for name, attribute in _FIELDS.items():
            if variables.get(name) is not None:
                setattr(run, attribute, variables[name])
        if variables.get("config"):
            run.config = json_object(variables["config"])
        if variables.get("summaryMetrics"):
            run.summary = json_object(variables["summaryMetrics"])
        run.seen_at = now()
        return {"upsertBucket": {"bucket": answers.run(run), "inserted": inserted}}

    def _by_node(self, id: str) -> Run | None:
        return next((run for run in self._store.runs.values() if node_id("Run", run.number) == id), None)

    def _create_files(self, variables: Variables) -> Answer:
        run = self.run(variables)
        created = []
        for name in variables["files"]:
            id = run.files.setdefault(name, self._files.new())
            created.append({"name": name, "uploadUrl": self._files.url(id)})
        return {
            "createRunFiles": {
                "runID": node_id("Run", run.number),
                "uploadHeaders": [],
                "files": created,
            }
        }

    def _delete(self, variables: Variables) -> Answer:
        run = self._by_node(str(variables["id"]))
        if run is None:
            raise Refused(404, "No such run")
        del self._store.runs[run.path]
        self._store.deleted.add(run.path)
        return {"deleteRun": {"clientMutationId": None}}

    def _alert(self, variables: Variables) -> Answer:
        # The only operation that calls the owner of a run by other names.
        owner = {"entity": variables["entityName"], "project": variables["projectName"]}
        level = str(variables.get("severity") or "INFO")
        alert = Alert(str(variables["title"]), str(variables["text"]), level)
        self.run({**owner, "name": variables["runName"]}).alerts.append(alert)
        return {"notifyScriptableRunAlert": {"success": True}}

    # Reading

    def _viewer(self, _: Variables) -> Answer:
        return {
            "viewer": {
                "id": node_id("User", ENTITY),
                "name": ENTITY,
                "username": ENTITY,
                "entity": ENTITY,
                "email": f"{ENTITY}@example.invalid",
                "admin": False,
                "deletedAt": None,
                "flags": "{}",
                "teams": {"edges": []},
                "apiKeys": {"edges": []},
            }
        }

    def _project(self, variables: Variables) -> Answer:
        entity, project = _owner({**variables, "project": variables.get("project") or variables.get("name")})
        exists = (entity, project) in self._store.projects()
        return {"project": answers.project(entity, project) if exists else None}

    def _resume_status(self, variables: Variables) -> Answer:
        run = self.find(variables)
        bucket = answers.run(run) if run else None
        return {"model": {**answers.project(*_owner(variables)), "bucket": bucket}}

    def _run(self, variables: Variables) -> Answer:
        run = self.find(variables)
        return {"project": {"run": answers.run(run) if run else None}}

    def _runs(self, variables: Variables) -> Answer:
        """A page of a project's runs that match the filters, in the order of a column."""
        entity, project = _owner(variables)
        runs = self._store.projects().get((entity, project))
        if runs is None:
            return {"project": None}
        filters = json.loads(variables.get("filters") or "{}")
        runs = ordered(selected(runs, filters), variables.get("order") or "+created_at")
        start = int(variables.get("cursor") or 0)
        end = start + int(variables.get("perPage") or 50)
        page = answers.connection(
            map(answers.run, runs[start:end]), total=len(runs), more=end < len(runs), start=start
        )
        return {"project": {**answers.project(entity, project), "runCount": len(runs), "runs": page}}

    def _history(self, variables: Variables) -> Answer:
        run, samples = self.run(variables), int(variables.get("samples") or 500)
        history = [json.dumps(row) for row in sampled(run.history, samples)]
        events = [json.dumps(row) for row in sampled(run.events, samples)]
        return {"project": {"run": {"history": history, "events": events}}}

    def _sampled_history(self, variables: Variables) -> Answer:
        run = self.run(variables)
        specs = [json.loads(spec) for spec in variables.get("specs") or [variables["spec"]]]
        return {"project": {"run": {"sampledHistory": [_sample(run, spec) for spec in specs]}}}

    def _history_page(self, variables: Variables) -> Answer:
        history = self.run(variables).history
        rows = [
            json.dumps(row)
            for index, row in enumerate(history)
            if variables["minStep"] <= step_of(row, index) < variables["maxStep"]
        ]
        return {"project": {"run": {"history": rows[: variables["pageSize"]]}}}

    def _no_parquet(self, variables: Variables) -> Answer:
        """No history files: the SDK then requests pages of the history."""
        history = self.run(variables).history
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": history}}}}

    def _run_files(self, variables: Variables) -> Answer:
        run = self.run(variables)
        files = answers.files(self._files, run.files, variables.get("fileNames") or ())
        number = answers.project_number(run.entity, run.project)
        return {
            "project": {
                "internalId": number,
                "run": {"fileCount": files["totalCount"], "files": files},
            }
        }


def _owner(variables: Variables) -> tuple[str, str]:
    return str(variables.get("entity") or ENTITY), str(variables.get("project") or PROJECT)


def _sample(run: Run, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys, first, end = spec["keys"], spec.get("minStep", 0), spec.get("maxStep", float("inf"))
    rows = [
        {key: row[key] for key in keys}
        for index, row in enumerate(run.history)
        if all(key in row for key in keys) and first <= step_of(row, index) < end
    ]
    return sampled(rows, int(spec.get("samples", 500)))


def sampled(rows: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most ``limit`` of the rows, evenly spread."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[index * len(rows) // limit] for index in range(limit)]
