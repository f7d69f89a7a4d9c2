"""Athena that runs its queries: moto's workgroups and Glue's tables, DuckDB over the Parquet in S3."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moto.athena.models import athena_backends
from moto.athena.responses import AthenaResponse
from moto.core.exceptions import JsonRESTError

from modelbuild_local.aws.objects import Objects, split
from modelbuild_local.aws.patching import replace
from modelbuild_local.aws.settings import Settings

if TYPE_CHECKING:
    from modelbuild_local.aws.athena.query import Query

_LARGEST_PAGE = 1000

_starting = threading.Lock()  # two requests with one token start one query


def install(settings: Settings) -> None:
    """Patch moto's Athena to run queries; call this once, before the server answers."""
    del settings  # a query needs nothing of the machine
    replace(AthenaResponse, "start_query_execution", _start_query_execution)
    replace(AthenaResponse, "get_query_execution", _get_query_execution)
    replace(AthenaResponse, "get_query_results", _get_query_results)
    replace(AthenaResponse, "stop_query_execution", _stop_query_execution)
    replace(AthenaResponse, "get_work_group", _get_work_group)
    unknown_to_moto: Any = AthenaResponse
    unknown_to_moto.batch_get_query_execution = _batch_get_query_execution


def stop() -> None:
    """Cancel the queries that run."""
    for regions in athena_backends.values():
        for backend in regions.values():
            queries: list[Any] = list(backend.executions.values())
            for query in queries:
                query.cancel()


def _refused(message: str) -> JsonRESTError:
    return JsonRESTError("InvalidRequestException", message)


def _start_query_execution(self: Any) -> str:
    # Imported here: many laptops run no query, and DuckDB and sqlglot are a fifth of the server's start.
    from modelbuild_local.aws.athena.query import Query
    from modelbuild_local.aws.athena.statement import InvalidRequest

    executions: dict[str, Query] = self.athena_backend.executions
    text, token = self._get_param("QueryString") or "", self._get_param("ClientRequestToken")
    workgroup = self._get_param("WorkGroup") or "primary"
    group = self.athena_backend.work_groups.get(workgroup)
    if group is None:
        raise _refused(f"WorkGroup {workgroup} is not found.")
    output = _output(group.configuration, self._get_param("ResultConfiguration") or {})
    try:
        bucket, _ = split(output)
        query = Query(
            text=text,
            account=self.current_account,
            region=self.region,
            workgroup=group,
            context=self._get_param("QueryExecutionContext") or {},
            output=output,
            parameters=self._get_param("ExecutionParameters"),
            token=token,
        )
    except (ValueError, InvalidRequest) as error:
        raise _refused(str(error)) from None
    if not Objects(self.current_account).has_bucket(bucket):
        raise _refused(f"Unable to verify/create output bucket {bucket}")
    with _starting:
        same = next((other for other in executions.values() if token and other.token == token), None)
        if same is None:
            executions[query.id] = query
    if same is None:
        query.start()
    elif (same.text, same.parameters, same.output) != (query.text, query.parameters, query.output):
        raise _refused("Idempotent parameters do not match")
    return json.dumps({"QueryExecutionId": (same or query).id})


def _output(configuration: Mapping[str, Any], requested: Mapping[str, str]) -> str:
    """The location of results: the workgroup's, if it enforces it or the request names none."""
    default = (configuration.get("ResultConfiguration") or {}).get("OutputLocation")
    location = requested.get("OutputLocation") or default
    if configuration.get("EnforceWorkGroupConfiguration") and default:
        location = default
    if not location:
        raise _refused(
            "No output location provided. An output location is required either through the Workgroup "
            "result configuration setting or as an API input."
        )
    return str(location).rstrip("/") + "/"


def _query(self: Any, query_id: str) -> Query:
    found: Query | None = self.athena_backend.executions.get(query_id)
    if found is None:
        raise _refused(f"QueryExecution {query_id} was not found")
    return found


def _get_query_execution(self: Any) -> str:
    query = _query(self, self._get_param("QueryExecutionId"))
    return json.dumps({"QueryExecution": _described(query)})


def _batch_get_query_execution(self: Any) -> str:
    requested = self._get_param("QueryExecutionIds") or []
    executions = self.athena_backend.executions
    found = [_described(executions[query_id]) for query_id in requested if query_id in executions]
    missing = [
        {
            "QueryExecutionId": query_id,
            "ErrorCode": "INVALID_QUERY_EXECUTION_ID",
            "ErrorMessage": f"QueryExecution {query_id} was not found",
        }
        for query_id in requested
        if query_id not in executions
    ]
    return json.dumps({"QueryExecutions": found, "UnprocessedQueryExecutionIds": missing})


def _stop_query_execution(self: Any) -> str:
    _query(self, self._get_param("QueryExecutionId")).cancel()
    return "{}"


def _get_work_group(self: Any) -> str:
    name = self._get_param("WorkGroup")
    found = self.athena_backend.get_work_group(name)
    if found is None:
        raise _refused(f"WorkGroup {name} is not found.")
    return json.dumps({"WorkGroup": found})


def _get_query_results(self: Any) -> str:
    query = _query(self, self._get_param("QueryExecutionId"))
    if not query.has_ended:
        raise _refused(f"Query has not yet finished. Current state: {query.state}")
    if query.state != "SUCCEEDED":
        raise _refused(f"Query did not finish successfully. Final query state: {query.state}")
    size, token = self._get_param("MaxResults") or _LARGEST_PAGE, self._get_param("NextToken")
    if not 1 <= size <= _LARGEST_PAGE:
        raise _refused(f"MaxResults is {size}; it must be from 1 to {_LARGEST_PAGE}")
    if token is not None and not token.isdecimal():
        raise _refused(f"NextToken {token!r} is not one that was given out")
    names: list[list[str | None]] = [] if query.is_unload else [[item["Name"] for item in query.columns]]
    lines, begin = [*names, *query.rows], int(token or 0)
    end = begin + size
    answer: dict[str, Any] = {
        "ResultSet": {
            "Rows": [
                {"Data": [{} if value is None else {"VarCharValue": value} for value in line]}
                for line in lines[begin:end]
            ],
            "ResultSetMetadata": {"ColumnInfo": query.columns},
        },
        "UpdateCount": query.written_rows if query.is_unload else 0,
    }
    if end < len(lines):
        answer["NextToken"] = str(end)
    return json.dumps(answer)


def _described(query: Query) -> dict[str, Any]:
    status: dict[str, Any] = {"State": query.state, "SubmissionDateTime": query.submitted}
    if query.completed is not None:
        status["CompletionDateTime"] = query.completed
    if query.reason is not None:
        status["StateChangeReason"] = query.reason
    if query.state == "FAILED":
        user = 2
        status["AthenaError"] = {"ErrorCategory": user, "Retryable": False, "ErrorMessage": query.reason}
    total = (query.completed - query.submitted) if query.completed is not None else query.engine_seconds
    statistics: dict[str, Any] = {
        "EngineExecutionTimeInMillis": int(query.engine_seconds * 1000),
        "DataScannedInBytes": query.scanned,
        "TotalExecutionTimeInMillis": int(total * 1000),
        "ResultReuseInformation": {"ReusedPreviousResult": False},
    }
    if query.manifest is not None:
        statistics["DataManifestLocation"] = query.manifest
    described: dict[str, Any] = {
        "QueryExecutionId": query.id,
        "Query": query.text,
        "StatementType": "DML",
        "SubstatementType": "UNLOAD" if query.is_unload else "SELECT",
        "ResultConfiguration": {"OutputLocation": query.result},
        "QueryExecutionContext": query.context,
        "Status": status,
        "Statistics": statistics,
        "WorkGroup": query.workgroup.name,
        "EngineVersion": query.workgroup.configuration["EngineVersion"],
    }
    if query.parameters:
        described["ExecutionParameters"] = query.parameters
    return described
