"""The functions of moto that the stand-in replaces, and the private ones that it uses, have not changed."""

from __future__ import annotations

import hashlib
import inspect
from pkgutil import resolve_name
from typing import Any

import pytest

# The start of the SHA-256 of each one's source. Where one differs, moto has changed: read what is new
# there, change the replacement if it has to follow, and put the new value here.
SEEN = {
    "moto.athena.models:AthenaBackend.create_work_group": "fdc35242818b",
    "moto.batch.models:BatchBackend.cancel_job": "e7f660756ccf",
    "moto.batch.models:BatchBackend.get_job_definition": "defe7d21e76a",
    "moto.batch.models:BatchBackend.get_job_queue": "60585885a159",
    "moto.batch.models:BatchBackend.register_job_definition": "7540acd75b08",
    "moto.batch.models:BatchBackend.submit_job": "0a4078326f32",
    "moto.batch.models:BatchBackend.terminate_job": "eaa5c6426619",
    "moto.batch.models:ComputeEnvironment": "ccda0443e27b",
    "moto.batch.models:Job.__init__": "92b8cb64ed3b",
    "moto.batch.models:Job._add_parameters_to_command": "df5129a1100d",
    "moto.batch.models:Job._get_attempt_duration": "4d15a2ed8e18",
    "moto.batch.models:JobDefinition.create_from_cloudformation_json": "e658164ac3aa",
    "moto.batch.models:JobQueue": "39714f90bd43",
    "moto.batch.responses:BatchResponse.describejobs": "ca9d9759a3ea",
    "moto.batch.responses:BatchResponse.listjobs": "819c0df57bb9",
    "moto.batch.responses:BatchResponse.submitjob": "2ba7d660df00",
    "moto.batch.responses:BatchResponse.terminatejob": "0c267a3c08d0",
    "moto.cloudformation.models:ChangeSet": "501edfb70984",
    "moto.cloudformation.models:CloudFormationBackend.create_change_set": "4668670ac84b",
    "moto.cloudformation.models:CloudFormationBackend.execute_change_set": "1090cb5b81ab",
    "moto.cloudformation.models:Stack": "740c2114af48",
    "moto.cloudformation.parsing:ResourceMap.load_parameters": "610002572ab1",
    "moto.cloudformation.parsing:ResourceMap.update": "e34b0c357f3c",
    "moto.cloudformation.parsing:get_references_from_template": "f5c38f12e570",
    "moto.cloudformation.parsing:parse_and_update_resource": "2ef032cfb9ed",
    "moto.cloudformation.responses:CloudFormationResponse._validate_different_update": "8a557e2f8f3b",
    "moto.cloudformation.responses:CloudFormationResponse.create_change_set": "9eb833dacc5f",
    "moto.glue.models:GlueBackend.create_database": "657c53d297dc",
    "moto.glue.models:GlueBackend.update_database": "cd56fdb6e112",
    "moto.logs.models:LogsBackend.put_log_events": "9413dbc08c42",
    "moto.moto_api._internal.managed_state_model:ManagedState": "3564c9f1675b",
    "moto.moto_server.werkzeug_app:DomainDispatcherApplication.__init__": "fb61347b637f",
    "moto.secretsmanager.models:SecretsManagerBackend.get_secret_value": "0e8d6dd1c2a3",
    "moto.sts.models:STSBackend.assume_role": "f32a21bb2eb0",
}


def fingerprint(thing: Any) -> str:
    """The start of the SHA-256 of the source of a function or class."""
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", SEEN)
def test_moto_is_what_we_know(name: str) -> None:
    """A new moto fails here, by name, and not somewhere in a build."""
    assert fingerprint(resolve_name(name)) == SEEN[name]
