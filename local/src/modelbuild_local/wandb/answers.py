"""Converts runs and artifacts to JSON answers.

The SDK ignores fields that it did not request, so each type has one answer for all queries.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from modelbuild_local.wandb.files import Files
from modelbuild_local.wandb.state import Artifact, Collection, Run, now

Answer = dict[str, Any]


def node_id(kind: str, *parts: object) -> str:
    """The same id for the same resource in each answer."""
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


def iso(time: datetime) -> str:
    """A time in W&B's format."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def connection(nodes: Iterable[Answer], *, total: int, more: bool = False, start: int = 0) -> Answer:
    """A page of a list; a node's cursor is the number of nodes up to it."""
    edges = [{"node": node, "cursor": str(start + offset + 1)} for offset, node in enumerate(nodes)]
    end = edges[-1]["cursor"] if edges else None
    return {
        "edges": edges,
        "totalCount": total,
        "pageInfo": {"__typename": "PageInfo", "endCursor": end, "hasNextPage": more},
    }


def project(entity: str, name: str) -> Answer:
    """A project."""
    return {
        "__typename": "Project",
        "id": node_id("Project", entity, name),
        "internalId": node_id("ProjectInternalId", project_number(entity, name)),
        "name": name,
        "entityName": entity,
        "entity": {"id": node_id("Entity", entity), "name": entity},
        "readOnly": False,
    }


def project_number(entity: str, name: str) -> int:
    """The project's number, which the SDK requires besides its id."""
    return zlib.crc32(f"{entity}/{name}".encode())


def run(run: Run) -> Answer:
    """A run, with nested JSON text where the SDK expects it."""
    sdk = run.config.get("_wandb", {}).get("value", {})
    return {
        "__typename": "Run",
        "id": node_id("Run", run.number),
        "name": run.id,
        "displayName": run.name,
        "project": project(run.entity, run.project),
        "projectId": project_number(run.entity, run.project),
        "state": run.state(now()),
        "group": run.group,
        "jobType": run.job_type,
        "notes": run.notes,
        "description": run.notes,
        "commit": run.commit,
        "tags": run.tags,
        "sweepName": None,
        "stopped": False,
        "readOnly": False,
        "createdAt": iso(run.created_at),
        "heartbeatAt": iso(run.seen_at),
        "user": {"name": run.entity, "username": run.entity},
        "config": json.dumps(run.config),
        # A resumed session of the SDK reads only the start time of the SDK's settings.
        "wandbConfig": json.dumps({"t": sdk["t"]} if "t" in sdk else {}),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": json.dumps(run.events[-1] if run.events else {}),
        "historyLineCount": len(run.history),
        "eventsLineCount": len(run.events),
        "logLineCount": len(run.log),
        "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
        "eventsTail": json.dumps([json.dumps(row) for row in run.events[-1:]]),
        "historyKeys": {
            "keys": {key: {"typeCounts": [{"type": "number"}]} for row in run.history for key in row},
            "lastStep": run.last_step,
        },
    }


def files(store: Files, named: dict[str, str], names: Sequence[str] = ()) -> Answer:
    """The uploaded files of a run or an artifact, by name."""
    here = {name: id for name, id in named.items() if store.exists(id) and (not names or name in names)}
    return connection((_file(store, name, id) for name, id in here.items()), total=len(here))


def _file(store: Files, name: str, id: str) -> Answer:
    return {
        "__typename": "File",
        "id": node_id("File", id),
        "name": name,
        "url": store.url(id),
        "directUrl": store.url(id),
        "sizeBytes": store.size(id),
        "mimetype": None,
        "storagePath": None,
        "updatedAt": None,
        "digest": None,
        "md5": None,
    }


def collection(collection: Collection) -> Answer:
    """An artifact's collection."""
    owner = (collection.entity, collection.project)
    return {
        "__typename": "ArtifactSequence",
        "id": node_id("ArtifactSequence", *owner, collection.name),
        "name": collection.name,
        "project": project(*owner),
        "type": {"name": collection.type},
        "description": None,
        "createdAt": iso(collection.versions[0].created_at),
        "updatedAt": None,
        "tags": {"edges": []},
    }


def artifact(artifact: Artifact, store: Files) -> Answer:
    """A version of an artifact."""
    owner = collection(artifact.collection)
    return {
        "__typename": "Artifact",
        "id": artifact.id,
        "artifactSequence": owner,
        "artifactType": {"name": artifact.collection.type},
        "versionIndex": artifact.version,
        "description": artifact.description,
        "metadata": artifact.metadata,
        "ttlDurationSeconds": -2,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED" if artifact.committed else "PENDING",
        "size": artifact.size,
        "digest": artifact.digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": artifact.id,
        "fileCount": artifact.file_count,
        "createdAt": iso(artifact.created_at),
        "updatedAt": None,
        "aliases": [
            {
                "__typename": "ArtifactAlias",
                "id": node_id("ArtifactAlias", artifact.id, alias),
                "alias": alias,
                "artifactCollection": owner,
            }
            for alias in artifact.aliases
        ],
        "currentManifest": {
            "id": node_id("ArtifactManifest", artifact.id),
            "file": {"directUrl": store.url(artifact.manifest)} if artifact.manifest else None,
        },
    }
