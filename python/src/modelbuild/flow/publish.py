"""Writes the files of a trained model to S3, where notify and deploy read them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping

from modelbuild import log
from modelbuild.buildkite.access import ApiAccess
from modelbuild.callback.delivery import deliver
from modelbuild.callback.page import wait_for_page
from modelbuild.callback.rate_limiter import shared_rate_limiter
from modelbuild.contract import (
    DESCRIPTION_FILE,
    Artifact,
    Manifest,
    PredictionsFile,
    TrainingRequest,
    TrainingResult,
    sha256_of,
    succeeded,
)
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.store.model import ModelStore
from modelbuild.store.ranking import Ranking


def archive(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of the files; the same files give the same bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()


def pack_model(files: Mapping[str, bytes], uri: str) -> tuple[bytes, Artifact]:
    """The archive of a model's files, and what the manifest says of it.

    Args:
        files: the files of the model, by name.
        uri: the object that the archive is for.

    Raises:
        ConfigurationError: the files lack ``model.json``.
    """
    if DESCRIPTION_FILE not in files:
        raise ConfigurationError(
            f"the model's files are {', '.join(sorted(files)) or 'none'}: {DESCRIPTION_FILE} must be among "
            "them"
        )
    content = archive(files)
    return content, Artifact(
        path=uri,
        bytes=len(content),
        sha256=sha256_of(content),
        files={name: sha256_of(part) for name, part in sorted(files.items())},
    )


def upload_model(store: ModelStore, files: Mapping[str, bytes]) -> Artifact:
    """Write ``model.tar.gz``.

    Raises:
        ConfigurationError: the files lack ``model.json``.
        VerificationFailed: there is a manifest already, of another model; or another training writes one.
    """
    content, artifact = pack_model(files, store.model_uri)
    store.write_model(content)
    return artifact


def describe_predictions(content: bytes, uri: str) -> PredictionsFile:
    """What the manifest says of the predictions in the object ``uri``."""
    # Imported here, because each process of a flow imports this module, and one publishes.
    import pyarrow.parquet as pq

    return PredictionsFile(
        path=uri,
        bytes=len(content),
        sha256=sha256_of(content),
        rows=pq.read_metadata(io.BytesIO(content)).num_rows,
    )


def upload_predictions(store: ModelStore, content: bytes) -> PredictionsFile:
    """Write the predictions for the evaluation rows.

    Raises:
        VerificationFailed: there is a manifest already, with other predictions; or another training writes
            some.
    """
    store.write_predictions(content)
    return describe_predictions(content, store.predictions_uri)


def clear_checkpoints(store: ModelStore) -> None:
    """Delete what the training would have gone on from, now that its model is kept."""
    try:
        store.checkpoints().clear()
    except AwsError as error:
        # They cost a little until the bucket's lifecycle rule deletes them, and the model is good.
        log.warn(f"The training's checkpoints stay where they are: {error}")


def _rank(store: ModelStore, manifest: Manifest) -> None:
    """Add the model to those among which notify looks for the best earlier one."""
    try:
        Ranking.of(store.objects, manifest).add(manifest)
    except AwsError as error:
        log.warn(f"Later reports do not compare with this model as the best one: {error}")


def publish(store: ModelStore, manifest: Manifest, attempt: int = 1) -> TrainingResult:
    """Write ``manifest.json`` and this attempt's ``result.json``, once each, to the training's prefix, and
    delete the checkpoints, which another training needs if this one's model is refused.

    Returns:
        The result in S3. An earlier run of this step may have written it, or a program that recorded this
        attempt as failed.

    Raises:
        VerificationFailed: another training has replaced the model or the predictions.
    """
    manifest = store.publish_manifest(manifest)
    _rank(store, manifest)
    result = store.attempt(attempt).write_result_once(succeeded(manifest, store.manifest_uri))
    clear_checkpoints(store)
    return result


def unblock(
    store: ModelStore, number: int, request: TrainingRequest, result: TrainingResult, access: ApiAccess
) -> None:
    """Unblock the step that waits for the training, and record that this attempt has unblocked it.

    The head delivers the same result when the flow has ended. The record tells the head that notify writes
    the annotation of the training.

    Args:
        store: the store of the model.
        number: the number of the attempt, whose result is in S3.
        request: the request of the training.
        result: the result.
        access: the API of Buildkite.

    Raises:
        BuildkiteError: the result could not be delivered.
    """
    attempt = store.attempt(number)
    wait_for_page(attempt)
    limiter = shared_rate_limiter(store.objects, store.prefix)
    delivery = deliver(request, result, access=access, rate_limiter=limiter)
    if delivery.end == "unblocked":
        try:
            attempt.record_delivered(result, step_unblocked=True)
        except AwsError as error:
            log.warn(f"The head may replace the annotation of the training: {error}")
