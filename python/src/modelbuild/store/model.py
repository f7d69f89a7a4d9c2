"""The files of one model, from the request to the deployment."""

from __future__ import annotations

from dataclasses import dataclass

from modelbuild.contract import (
    DEPLOYMENT_FILE,
    JOB_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    REPORT_PAGE_FILE,
    SOURCE_FILE,
    DataSnapshot,
    Deployment,
    Manifest,
    Report,
    TrainingRequest,
    document,
    request_uri,
    sha256_of,
)
from modelbuild.errors import VerificationFailed
from modelbuild.store import named_files, records
from modelbuild.store.attempts import Attempt, JobRecord
from modelbuild.store.checkpoints import CheckpointStore
from modelbuild.store.objects import Objects


@dataclass(frozen=True)
class ModelStore:
    """The files of one model below ``prefix``, which has no slash at its end.

    Every method raises ``AwsError`` when S3 refuses, and ``InvalidRecord`` for a file that does not hold its
    record.
    """

    objects: Objects
    prefix: str

    def attempt(self, number: int) -> Attempt:
        """The attempt at the training with this number; the first is 1."""
        return Attempt(self.objects, self.prefix, number)

    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of the training."""
        return CheckpointStore(self.objects, self.prefix)

    @property
    def request_uri(self) -> str:
        """The URI of the request."""
        return request_uri(self.prefix)

    def request(self, *, any_version: bool = False) -> TrainingRequest:
        """The request.

        Args:
            any_version: ignore fields that this version of modelbuild does not know; the known ones are
                enough to deliver a result to the build.

        Raises:
            NotFound: there is no request.
            VerificationFailed: it names the build of another prefix.
        """
        content = records.content(self.objects, self.request_uri)
        return self._require_own(
            records.parse(content, self.request_uri, TrainingRequest, any_version=any_version)
        )

    def find_request(self) -> TrainingRequest | None:
        """The request, or None if it does not exist."""
        found = records.find(self.objects, self.request_uri, TrainingRequest)
        return None if found is None else self._require_own(found)

    def pinned_request(self, sha256: str) -> TrainingRequest:
        """The request, which must have this hash.

        Raises:
            NotFound: there is no request.
            VerificationFailed: it was changed, or names the build of another prefix.
        """
        content = records.content(self.objects, self.request_uri)
        found = sha256_of(content)
        if found != sha256:
            raise VerificationFailed(
                f"{self.request_uri} has SHA-256 {found}, but the train step stored {sha256}: the request "
                "was changed after that; start a new build"
            )
        return self._require_own(records.parse(content, self.request_uri, TrainingRequest))

    def has_request(self) -> bool:
        """Whether the request exists."""
        return self.objects.exists(self.request_uri)

    def request_age(self) -> float | None:
        """Seconds since the request was written, or None if it does not exist."""
        return self.objects.age(self.request_uri)

    def write_request_once(self, request: TrainingRequest) -> bool:
        """Write the request; False if it exists already."""
        return self.objects.write_once(self.request_uri, request.to_json().encode())

    @property
    def source_uri(self) -> str:
        """The URI of the archive of the commit's files."""
        return self._uri(SOURCE_FILE)

    def write_source_once(self, archive: bytes) -> bool:
        """Write the archive of the commit's files; False if it exists already."""
        return self.objects.write_once(self.source_uri, archive, "application/gzip")

    def job(self) -> JobRecord | None:
        """The newest head, from ``job.json``; None before one is recorded."""
        return records.find(self.objects, self._uri(JOB_FILE), JobRecord)

    def record_job(self, job: JobRecord) -> None:
        """Record the newest head; a late program does not replace a newer head by an older one."""
        uri, body = self._uri(JOB_FILE), document(job.model_dump()).encode()
        if self.objects.write_once(uri, body):
            return
        replaced = None
        while replaced is None:
            newest, tag = self.objects.read_tagged(uri)
            if records.parse(newest, uri, JobRecord).attempt >= job.attempt:
                return
            replaced = self.objects.replace(uri, body, tag)

    @property
    def data(self) -> str:
        """The prefix of the snapshot's rows; it ends with a slash."""
        return self._uri("data/")

    def snapshot(self) -> DataSnapshot | None:
        """The snapshot of the model's rows, or None before it is taken."""
        return records.find(self.objects, f"{self.data}snapshot.json", DataSnapshot, records.LARGE_BYTES)

    def write_snapshot_once(self, snapshot: DataSnapshot) -> DataSnapshot:
        """Write the snapshot once; returns the snapshot in S3: this one, or an earlier one."""
        if self.objects.write_once(f"{self.data}snapshot.json", snapshot.to_json().encode()):
            return snapshot
        return self.snapshot() or snapshot

    def write_rows_once(self, content: bytes) -> str:
        """Write rows of the commit below the snapshot's prefix; returns their URI.

        Raises:
            VerificationFailed: other rows are there.
        """
        uri = f"{self.data}rows.json"
        if not self.objects.write_once(uri, content, "application/json"):
            self._require_same(uri, content)
        return uri

    @property
    def model_uri(self) -> str:
        """Where ``model.tar.gz`` is."""
        return self._uri(MODEL_FILE)

    def write_model(self, archive: bytes) -> None:
        """Write ``model.tar.gz``; before there is a manifest, in place of what an interrupted training left.

        Raises:
            VerificationFailed: the manifest is there and names another model, or another training writes one.
        """
        self._write_until_manifest(self.model_uri, archive, "application/gzip")

    @property
    def predictions_uri(self) -> str:
        """The URI of the predictions for the evaluation rows."""
        return self._uri(PREDICTIONS_FILE)

    def write_predictions(self, content: bytes) -> None:
        """Write the predictions for the evaluation rows, as :meth:`write_model` writes the model.

        Raises:
            VerificationFailed: the manifest is there and names others, or another training writes some.
        """
        self._write_until_manifest(self.predictions_uri, content, "application/vnd.apache.parquet")

    @property
    def manifest_uri(self) -> str:
        """The URI of the manifest."""
        return self._uri(MANIFEST_FILE)

    def manifest(self) -> Manifest | None:
        """The manifest, or None before there is a model.

        Raises:
            InvalidRecord: also when it is of another model, because a flow writes it.
        """
        found = records.find(self.objects, self.manifest_uri, Manifest, records.LARGE_BYTES)
        if found is not None and (wrong := found.request.misplaced(self.prefix)):
            raise records.InvalidRecord(
                f"{self.manifest_uri} is the manifest of another build ({wrong}): start a new build, whose "
                "flow publishes the request that it was given"
            )
        return found

    def manifest_bytes(self) -> bytes:
        """The bytes of the manifest.

        Raises:
            NotFound: it does not exist.
            InvalidRecord: it is larger than any manifest.
        """
        return records.content(self.objects, self.manifest_uri, records.LARGE_BYTES)

    def write_manifest_once(self, manifest: Manifest) -> Manifest:
        """Write the manifest once; returns the manifest in S3: this one, or an earlier one."""
        if self.objects.write_once(self.manifest_uri, manifest.to_json().encode()):
            return manifest
        return self.manifest() or manifest

    def publish_manifest(self, manifest: Manifest) -> Manifest:
        """Write the manifest of the model and predictions that lie here, once; returns the manifest in S3.

        Raises:
            VerificationFailed: another training has replaced one of the two.
        """
        self.require_files(manifest)
        kept = self.write_manifest_once(manifest)
        # Another training may have found no manifest a moment ago.
        self.require_files(kept)
        return kept

    def require_files(self, manifest: Manifest) -> None:
        """Require that the model and the predictions that lie here are those of a manifest.

        Raises:
            VerificationFailed: another training has replaced one of the two.
        """
        named_files.require_hashes(self.objects, self.manifest_uri, self._hashes(manifest))

    def report(self) -> Report | None:
        """The report that notify wrote, or None before that."""
        return records.find(self.objects, self._uri(REPORT_FILE), Report, records.LARGE_BYTES)

    def write_report(self, report: bytes, page: bytes) -> None:
        """Write the report and its page; a later comparison replaces an earlier one."""
        self.objects.write(self._uri(REPORT_FILE), report)
        self.objects.write(self._uri(REPORT_PAGE_FILE), page, "text/html; charset=utf-8")

    @property
    def deployment_uri(self) -> str:
        """The URI of the newest deployment of the model."""
        return self._uri(DEPLOYMENT_FILE)

    def deployment(self) -> Deployment | None:
        """The newest deployment of the model, or None."""
        return records.find(self.objects, self.deployment_uri, Deployment)

    def write_deployment(self, deployment: Deployment) -> None:
        """Record the newest deployment of the model."""
        self.objects.write(self.deployment_uri, deployment.to_json().encode())

    def _uri(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _require_own(self, request: TrainingRequest) -> TrainingRequest:
        if found := request.misplaced(self.prefix):
            raise VerificationFailed(
                f"{self.request_uri} is the request of another build ({found}): its files were moved, or not "
                "written by the train step; start a new build"
            )
        return request

    def _hashes(self, manifest: Manifest) -> dict[str, str]:
        """The hashes that a manifest names, by the URI of the file."""
        return {
            self.model_uri: manifest.artifact.sha256,
            self.predictions_uri: manifest.predictions.sha256,
        }

    def _write_until_manifest(self, uri: str, content: bytes, content_type: str) -> None:
        def named() -> str | None:
            manifest = self.manifest()
            return None if manifest is None else self._hashes(manifest)[uri]

        named_files.write_until_manifest(self.objects, uri, content, content_type, named)

    def _require_same(self, uri: str, content: bytes) -> None:
        present, made = (sha256_of(part) for part in (self.objects.read(uri), content))
        if present != made:
            raise VerificationFailed(
                f"{uri} is there with SHA-256 {present}, but this training made {made}: start a new build"
            )
