"""The GraphQL operations about artifacts."""

from __future__ import annotations

import json

from modelbuild_local.wandb import answers
from modelbuild_local.wandb.answers import Answer, node_id
from modelbuild_local.wandb.errors import Refused
from modelbuild_local.wandb.files import Files
from modelbuild_local.wandb.runs import Operation, Variables
from modelbuild_local.wandb.state import Artifact, Collection, Store


class ArtifactOperations:
    """The SDK's operations on artifacts."""

    def __init__(self, store: Store, files: Files) -> None:
        self._store = store
        self._files = files

    def operations(self) -> dict[str, Operation]:
        """Each operation by the name that the SDK gives it."""
        return {
            "ArtifactType": self._type,
            "CreateArtifact": self._create,
            "CreateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_files,
            "CommitArtifact": self._commit,
            "UseArtifact": self._use,
            "ArtifactMembershipByName": self._membership,
            "ArtifactByID": self._artifact,
            "FetchArtifactManifest": self._artifact,
            "GetArtifactMembershipFileUrls": self._file_urls,
            "ProjectArtifactCollection": self._collection,
            "ArtifactCreatedBy": self._provenance,
            "ArtifactUsedBy": self._provenance,
            "RunOutputArtifacts": self._logged,
            "RunInputArtifacts": self._used,
        }

    # Writing

    def _create(self, variables: Variables) -> Answer:
        entity, project = variables["entityName"], variables["projectName"]
        names = variables.get("artifactCollectionNames") or [variables["artifactCollectionName"]]
        collection = self._store.collections.setdefault(
            (entity, project, names[0]), Collection(entity, project, names[0], variables["artifactTypeName"])
        )
        run = self._store.runs.get((entity, project, str(variables.get("runName"))))
        latest = collection.find("latest")
        aliases = [item["alias"] for item in variables.get("aliases") or []]
        artifact = collection.find(variables["digest"])
        if artifact is None:
            artifact = Artifact(
                id=node_id("Artifact", len(self._store.artifacts) + 1),
                collection=collection,
                version=len(collection.versions),
                digest=variables["digest"],
                description=variables.get("description"),
                metadata=variables.get("metadata"),
                aliases=aliases,
                run=run,
            )
            self._store.artifacts[artifact.id] = artifact
            collection.versions.append(artifact)
        else:
            # The same content is the same version, with further aliases.
            collection.publish(artifact, aliases)
        if run is not None and artifact not in run.logged:
            run.logged.append(artifact)
        sequence = answers.collection(collection)
        sequence["latestArtifact"] = answers.artifact(latest, self._files) if latest else None
        return {
            "createArtifact": {
                "artifact": {**answers.artifact(artifact, self._files), "artifactSequence": sequence}
            }
        }

    def _create_manifest(self, variables: Variables) -> Answer:
        artifact = self._find(variables["artifactID"])
        artifact.manifest = artifact.manifest or self._files.new()
        file = {
            "id": node_id("File", artifact.manifest),
            "uploadUrl": self._files.url(artifact.manifest),
            "uploadHeaders": [],
        }
        manifest = {"id": node_id("ArtifactManifest", artifact.id), "file": file}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _create_files(self, variables: Variables) -> Answer:
        nodes = []
        for file in variables["artifactFiles"]:
            artifact = self._find(file["artifactID"])
            id = artifact.files.setdefault(file["name"], self._files.new())
            nodes.append(
                {
                    "id": node_id("File", id),
                    "name": file["name"],
                    "displayName": file["name"],
                    "storagePath": id,
                    "uploadUrl": self._files.url(id),
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": artifact.id},
                }
            )
        return {"createArtifactFiles": {"files": answers.connection(nodes, total=len(nodes))}}

    def _commit(self, variables: Variables) -> Answer:
        artifact = self._find(variables["artifactID"])
        if artifact.manifest is None or not self._files.exists(artifact.manifest):
            raise Refused(409, "The artifact has no manifest yet: upload it first")
        contents = json.loads(self._files.path(artifact.manifest).read_bytes())["contents"]
        artifact.file_count = len(contents)
        artifact.size = sum(entry.get("size") or 0 for entry in contents.values())
        artifact.collection.publish(artifact, artifact.aliases)
        return {"commitArtifact": {"artifact": answers.artifact(artifact, self._files)}}

    def _use(self, variables: Variables) -> Answer:
        artifact = self._find(variables["artifactID"])
        run = self._store.runs.get((variables["entityName"], variables["projectName"], variables["runName"]))
        if run is not None and artifact not in run.used:
            run.used.append(artifact)
            artifact.users.append(run)
        return {"useArtifact": {"artifact": answers.artifact(artifact, self._files)}}

    # Reading

    def _find(self, id: str) -> Artifact:
        artifact = self._store.artifacts.get(id)
        if artifact is None:
            raise Refused(404, "No such artifact")
        return artifact

    def _named(self, variables: Variables, name: str) -> Artifact | None:
        name, _, alias = name.partition(":")
        collection = self._store.collections.get((variables["entity"], variables["project"], name))
        return collection.find(alias or "latest") if collection else None

    def _type(self, variables: Variables) -> Answer:
        artifact = self._named(variables, variables["name"])
        return {"project": {"artifact": answers.artifact(artifact, self._files) if artifact else None}}

    def _membership(self, variables: Variables) -> Answer:
        artifact = self._named(variables, variables["name"])
        if artifact is None:
            return {"project": {"artifactCollectionMembership": None}}
        answer = answers.artifact(artifact, self._files)
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": node_id("ArtifactCollectionMembership", artifact.id),
            "artifact": answer,
            "artifactCollection": answer["artifactSequence"],
            **{key: answer[key] for key in ("versionIndex", "createdAt", "aliases")},
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def _artifact(self, variables: Variables) -> Answer:
        return {
            "artifact": answers.artifact(
                self._find(variables.get("id") or variables["artifact_id"]), self._files
            )
        }

    def _file_urls(self, variables: Variables) -> Answer:
        artifact = self._named(variables, f"{variables['collection']}:{variables['alias']}")
        if artifact is None:
            raise Refused(404, "No such artifact")
        membership = {"files": answers.files(self._files, artifact.files)}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": membership}
        return {"project": {"artifactCollection": collection}}

    def _collection(self, variables: Variables) -> Answer:
        found = self._store.collections.get((variables["entity"], variables["project"], variables["name"]))
        collection = answers.collection(found) if found else None
        return {"project": {"artifactType": {"artifactCollection": collection}}}

    def _provenance(self, variables: Variables) -> Answer:
        artifact = self._find(variables["id"])
        users = answers.connection(map(answers.run, artifact.users), total=len(artifact.users))
        maker = answers.run(artifact.run) if artifact.run else None
        return {"artifact": {"createdBy": maker, "usedBy": users}}

    def _logged(self, variables: Variables) -> Answer:
        return self._of_run(variables, "logged")

    def _used(self, variables: Variables) -> Answer:
        return self._of_run(variables, "used")

    def _of_run(self, variables: Variables, attribute: str) -> Answer:
        run = self._store.runs.get((variables["entity"], variables["project"], variables["run"]))
        if run is None:
            return {"project": {"run": None}}
        found: list[Artifact] = getattr(run, attribute)
        nodes = (answers.artifact(artifact, self._files) for artifact in found)
        return {"project": {"run": {"artifacts": answers.connection(nodes, total=len(found))}}}
