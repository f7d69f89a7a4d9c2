"""Queries of the lake, run by Athena."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_result, wait_exponential

from modelbuild.aws.failures import translated
from modelbuild.errors import AwsError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_athena.type_defs import QueryExecutionStatusTypeDef

WORKGROUP = "modelbuild"

_while_it_runs = Retrying(
    retry=retry_if_result(lambda status: status["State"] in ("QUEUED", "RUNNING")),
    wait=wait_exponential(multiplier=0.2, exp_base=1.3, max=5),
)
_SHOWN_QUERY_CHARACTERS = 120


class Athena:
    """A client of Athena with one identity, in the workgroup ``modelbuild``."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Athena"):
            self._athena = session.client("athena")

    def unload(self, query: str, destination: str) -> str:
        """Write the rows of a SELECT as Parquet objects below ``destination``, which must hold nothing yet.

        Returns:
            Athena's execution id.

        Raises:
            AwsError: Athena refused the query, or it failed; the message has Athena's reason.
        """
        if not destination.endswith("/"):
            destination += "/"
        return self.run(f"UNLOAD ({query}) TO {quoted(destination)} WITH (format = 'PARQUET')")

    def run(self, statement: str) -> str:
        """Run a statement to its end.

        Returns:
            Athena's execution id.

        Raises:
            AwsError: Athena refused the statement, or it failed; the message has Athena's reason.
        """
        shown = " ".join(statement.split())[:_SHOWN_QUERY_CHARACTERS]
        with translated(f"run the query {shown!r} in Athena"):
            started = self._athena.start_query_execution(QueryString=statement, WorkGroup=WORKGROUP)
        execution_id = started["QueryExecutionId"]
        ended: QueryExecutionStatusTypeDef = _while_it_runs(self._status, execution_id)
        if ended["State"] != "SUCCEEDED":
            reason = ended.get("StateChangeReason", "Athena gave no reason").strip().rstrip(".")
            raise AwsError(f"Athena query {execution_id} ({shown!r}) {ended['State'].lower()}: {reason}.")
        return execution_id

    def _status(self, execution_id: str) -> QueryExecutionStatusTypeDef:
        with translated(f"read the state of Athena query {execution_id}"):
            execution = self._athena.get_query_execution(QueryExecutionId=execution_id)
        return execution["QueryExecution"]["Status"]


def quoted(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
