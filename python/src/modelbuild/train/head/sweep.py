"""The head of a sweep: has candidates trained, ranks them, and has the best ones trained to be offered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch
from modelbuild.contract import (
    SWEEP_WORK,
    Candidate,
    CandidateOutcome,
    CandidateTask,
    HeadEnvironment,
    Leaderboard,
    LeaderboardRow,
    Sweep,
    TaskName,
    TrainingRequest,
    TrainingResult,
    parameters_by_name,
    succeeded,
)
from modelbuild.errors import TrainingFailed
from modelbuild.report.cost import Prices, cost, read_prices
from modelbuild.store.model import ModelStore
from modelbuild.store.ranking import Ranking
from modelbuild.store.sweep import SweepStore
from modelbuild.sweep.search import Sampler, search
from modelbuild.sweep.workers import Machine, Workers
from modelbuild.train.head import runs, sweep_jobs
from modelbuild.train.head.progress import ProgressPage
from modelbuild.train.head.watch import Watch


@dataclass(frozen=True)
class SweepHead:
    """The head of a sweep.

    Attributes:
        own: the head's variables.
        variables: the variables of the flow's processes.
        store: the files of the sweep's model.
        batch: submits the workers.
        page: shows how far it is; None where the token cannot be used.
        watching: watches whether the workers get machines.
    """

    own: HeadEnvironment
    variables: Mapping[str, str]
    store: ModelStore
    batch: Batch
    page: ProgressPage | None
    watching: Watch

    def train(self, request: TrainingRequest, flow: Path) -> TrainingResult:
        """Run the sweep; the result has the best candidate as its model.

        Args:
            request: the request of the sweep.
            flow: the flow's file among the unpacked files of the commit.

        Raises:
            TrainingFailed: no candidate can be offered.
            AwsError: S3 or Batch refused.
        """
        assert request.sweep is not None
        self._end_earlier(request)
        workers = self._workers(request, sweep_jobs.sizes(flow, self.variables))
        try:
            return self._run(request, request.sweep, workers)
        except BaseException:
            # Also when the build was cancelled, or the host of the head goes away.
            workers.terminate("the head of the sweep ends")
            raise

    def _run(self, request: TrainingRequest, sweep: Sweep, workers: Workers) -> TrainingResult:
        # Imported here: it loads numpy and pyarrow, which the head of one training does not need.
        from modelbuild.sweep import noise, ranking, table

        prices, store = read_prices(), SweepStore(self.store.objects, self.store.prefix)
        defaults = parameters_by_name(request.parameters)
        attempt = store.search_attempt(self.own.attempt)

        def train(name: str, tasks: Sequence[CandidateTask]) -> list[CandidateOutcome]:
            return workers.train(name, [task.model_copy(update={"attempt": attempt}) for task in tasks])

        def sampler() -> Sampler:
            # Imported here: it loads a database library, which the other methods do not need.
            from modelbuild.sweep.tpe import TpeSampler

            return TpeSampler(sweep, defaults)

        def may_continue(found: Sequence[CandidateOutcome], candidates: Sequence[Candidate]) -> bool:
            if store.has_begun(candidates, attempt):
                # An earlier head had begun this round, within the budget.
                return True
            age = self.store.attempt(attempt).age() or 0.0
            spent = sum(_price(one, prices) or 0.0 for one in found)
            return not (
                (sweep.minutes is not None and age / 60 >= sweep.minutes)
                or (sweep.money is not None and spent >= sweep.money)
            )

        if self.store.snapshot() is None:
            workers.prepare()
            if self.store.snapshot() is None:
                raise TrainingFailed(
                    "step start of the flow has taken no snapshot, and a sweep takes it in that step alone: "
                    "call take_snapshot or keep_rows there"
                )
        outcomes = search(sweep, defaults, train, sampler, may_continue)
        ended = {one.task.candidate.number: one for one in outcomes}

        def read(row: LeaderboardRow) -> bytes:
            return store.predictions(ended[row.candidate.number])

        leaderboard = ranking.rank(request, outcomes, lambda one: _price(one, prices))
        leaderboard = noise.with_intervals(leaderboard, read)
        leaderboard = leaderboard.model_copy(update={"currency": prices.currency})
        # For the page of a sweep that can offer no candidate.
        store.write_leaderboard(leaderboard, table.parquet(leaderboard))
        leaderboard, result = self._offer(request, sweep, leaderboard, workers, read)
        store.write_leaderboard(leaderboard, table.parquet(leaderboard))
        log.info(f"sweep: {store.leaderboard_uri}")
        return result

    def _offer(
        self,
        request: TrainingRequest,
        sweep: Sweep,
        leaderboard: Leaderboard,
        workers: Workers,
        read: Callable[[LeaderboardRow], bytes],
    ) -> tuple[Leaderboard, TrainingResult]:
        """Have the best candidates trained on all training rows.

        Raises:
            TrainingFailed: none of them can be offered.
        """
        from modelbuild.sweep import offers

        best = leaderboard.ranked[: sweep.offered]
        if not best:
            # One that was stopped early did not fail: its reason does not say why none is left.
            reasons = (row.reason for row in leaderboard.rows if row.status != "stopped" and row.reason)
            first = next(reasons, "no reason was given")
            raise TrainingFailed(
                f"none of {len(leaderboard.rows):,} candidates can be offered; the first: {first}"
            )
        tasks = [
            CandidateTask(
                candidate=row.candidate,
                stage="final",
                attempt=workers.store.final_attempt(row.candidate, self.own.attempt),
            )
            for row in best
        ]
        outcomes = workers.train("final", tasks)
        ended = {row.model_id: outcome for row, outcome in zip(best, outcomes, strict=True)}
        leaderboard = offers.without_failed(leaderboard, ended, read)
        good = [row for row in leaderboard.ranked if row.model_id in ended]
        if not good:
            first = next(row.reason for row in leaderboard.rows if row.model_id == best[0].model_id)
            raise TrainingFailed(
                f"none of the best {len(best)} of {len(leaderboard.rows):,} candidates can be offered; the "
                f"first: {first}"
            )
        row = good[0]
        model = ModelStore(self.store.objects, f"{request.artifacts}.{row.candidate.number}")
        manifest = model.manifest()
        if manifest is None:
            raise TrainingFailed(f"candidate {row.model_id} has no manifest")
        Ranking.of(self.store.objects, manifest).add(manifest)
        test = self.store.objects.read(manifest.predictions.path)
        selection = offers.select(leaderboard, row, ended[row.model_id], test)
        leaderboard = offers.with_offers(leaderboard, [one.model_id for one in good], selection)
        return leaderboard, succeeded(manifest, model.manifest_uri)

    def _end_earlier(self, request: TrainingRequest) -> None:
        """Terminate the workers of an earlier head, and record what the names of this one's begin with."""
        earlier = runs.newest_run(self.store, self.own.attempt)
        if earlier is not None:
            for job_id in runs.end_steps(self.batch, self.own, earlier):
                log.info(f"sweep: job {job_id} of an earlier head was still there and is terminated")
        runs.record_run(self.store.attempt(self.own.attempt), sweep_jobs.run_of(request))

    def _workers(self, request: TrainingRequest, sizes: Mapping[str, Mapping[str, int]]) -> Workers:
        assert request.sweep is not None
        size = sweep_jobs.candidate_size(sizes)
        gpu = size["gpu"]
        children, processes = sweep_jobs.share_out(size, request.sweep.max_parallel)
        image = request.images.train_gpu if gpu else request.images.default
        run = sweep_jobs.run_of(request)
        store = SweepStore(self.store.objects, self.store.prefix)
        return Workers(
            store=store,
            batch=self.batch,
            machine=Machine(
                queue=self.own.gpu_queue if gpu else self.own.queue,
                definition=self.batch.definitions.for_workers(
                    self.own.head_queue, sweep_jobs.DEFINITION, image
                ),
                resources={"VCPU": size["cpu"], "MEMORY": size["memory"], "GPU": gpu},
                processes=processes,
            ),
            children=children,
            prefix=f"{self.own.user}-{run.flow_name}-{run.run_id}-",
            command=sweep_jobs.COMMAND,
            environment=sweep_jobs.environment(self.own, self.variables, request, size["cpu"]),
            tags=self.own.tags,
            timeout=self.own.timeout,
            on_progress=self._progress(store.search_attempt(self.own.attempt)),
            on_job=lambda job_id: self.watching.add_job("sweep", job_id),
            work_variable=SWEEP_WORK,
        )

    def _progress(self, attempt: int) -> Callable[[set[str]], None]:
        """A function that shows on the page how many candidates the search of an attempt has trained."""
        began = time.strftime("%H:%M", time.gmtime())

        def show(ended: set[str]) -> None:
            tasks = [task for name in ended if (task := TaskName.parse(name)) is not None]
            # With early stopping, a candidate has a task in each rung.
            searched = len(
                {task.number for task in tasks if (task.stage, task.attempt) == ("search", attempt)}
            )
            final = len({task.number for task in tasks if task.stage == "final"})
            sentence = f"The sweep has run since {began} UTC: {searched:,} candidates have been trained"
            sentence += f", and {final} of the best on all rows." if final else "."
            if self.page is not None:
                self.page.show_sweep(sentence)

        return show


def _price(outcome: CandidateOutcome, prices: Prices) -> float | None:
    """What the training of a candidate cost; None if its steps have no price."""
    found = [line.price for line in cost(outcome.steps, prices)]
    known = [price for price in found if price is not None]
    return round(sum(known), 6) if known else None
