"""The request log: what became of each request, written while the simulation runs."""

from __future__ import annotations

from array import array

import numpy as np

from hermes.metrics.requests import NEVER, RequestColumns
from hermes.metrics.stages import StageColumns
from hermes.sim.classes import RequestClasses
from hermes.sim.pipelines.walk import Failed, Rejected, Visit, Walk
from hermes.sim.sequence import Sequence
from hermes.workload import Workload
from hermes.workload.workload import Column

__all__ = ["RequestLog"]

_VISIT = 10  # numbers of a visit


class RequestLog:
    """Facts of each request of a workload, in ticks, and the stages of those that passed several.

    Args:
        workload: The requests.
        stage_names: Of each pipeline, the names of its stages, in order.
        classes: Of the requests; None where all are alike.
    """

    def __init__(
        self,
        workload: Workload,
        stage_names: tuple[tuple[str, ...], ...],
        classes: RequestClasses | None = None,
    ) -> None:
        self._classes = classes
        size = len(workload)
        self._workload = workload
        self._stage_names = stage_names
        self._first_stage = [0]
        for names in stage_names:
            self._first_stage.append(self._first_stage[-1] + len(names))
        self._scheduled = [NEVER] * size
        self._first_token = [NEVER] * size
        self._last_token = [NEVER] * size
        self._finished = [NEVER] * size
        self._preemptions = [0] * size
        self._replica = [-1] * size
        self._reason: dict[int, str] = {}
        self._failed: dict[int, None] = {}
        self._retries: dict[int, int] = {}
        self._known_ended = 0  # requests before this one have ended
        # What few plain requests have: ticks requeued, transferred, retrieved, preempted
        self._waits: dict[int, tuple[int, int, int, int]] = {}
        self._reused: dict[int, tuple[int, int]] = {}  # tokens from cache, from memory tiers
        self._walked: dict[int, tuple[int, int, int]] = {}  # prompt, output, right
        self._generated: dict[int, int] = {}  # tokens of all calls of a walk
        self._visits = array("q")  # of walks, `_VISIT` numbers each

    def routed(self, request: int, replica: int) -> None:
        """Note which replica takes a plain request."""
        self._replica[request] = replica

    def rejected(self, request: int, reason: str) -> None:
        """Note why a request is not served."""
        self._reason[request] = reason

    def ended(self, request: int, ending: Rejected) -> None:
        """Note why a request was not served, or not to its end."""
        self._reason[request] = ending.reason
        if isinstance(ending, Failed):
            self._failed[request] = None

    def retried(self, request: int) -> None:
        """Note that a call of a request begins again, on another replica."""
        self._retries[request] = self._retries.get(request, 0) + 1

    def all_ended(self) -> bool:
        """Whether every request of the workload has been served, rejected or lost."""
        finished, reason = self._finished, self._reason
        while self._known_ended < len(finished) and (
            finished[self._known_ended] != NEVER or self._known_ended in reason
        ):
            self._known_ended += 1
        return self._known_ended == len(finished)

    def called(self, sequence: Sequence, end: int, front_end: int) -> None:
        """Note a plain request that got its last token at tick `end`.

        The front end is no queue: what it adds to a request, it adds to all its times.
        """
        request = sequence.request_id
        self._scheduled[request] = sequence.scheduled
        self._first_token[request] = sequence.first_token + front_end
        self._last_token[request] = self._finished[request] = end + front_end
        if sequence.preemptions:
            self._preemptions[request] = sequence.preemptions
        if (
            sequence.preempted_ticks
            or sequence.transfer_ticks
            or sequence.requeued_ticks
            or sequence.retrieval_ticks
            or sequence.stall_ticks
        ):
            self._waits[request] = _waits(sequence)
        if sequence.reused_tokens or sequence.fetched_tokens:
            self._reused[request] = (sequence.reused_tokens, sequence.fetched_tokens)

    def sampled(self, request: int, sequence: Sequence) -> None:
        """Note a model call of a walk, or of a branch that nobody waits for any more."""
        self._preemptions[request] += sequence.preemptions
        self._generated[request] = self._generated.get(request, 0) + sequence.output_tokens
        if sequence.reused_tokens or sequence.fetched_tokens:
            reused, fetched = self._reused.get(request, (0, 0))
            self._reused[request] = (
                reused + sequence.reused_tokens,
                fetched + sequence.fetched_tokens,
            )

    def walked(self, walk: Walk, now: int) -> None:
        """Note a request that has passed all its stages."""
        request, answer = walk.request, walk.answer
        self._finished[request] = now
        prompt = output = 0
        right = NEVER
        if answer is not None:
            self._scheduled[request] = answer.scheduled
            self._first_token[request] = answer.first_token
            self._last_token[request] = answer.last_token
            self._replica[request] = answer.replica
            prompt, output = answer.prompt_tokens, answer.output_tokens
        if walk.right is not None:
            right = int(walk.right)
        self._walked[request] = (prompt, output, right)
        for visit in walk.visits:
            self.visited(request, visit, critical=True)

    def visited(self, request: int, visit: Visit, critical: bool) -> None:
        """Note one stage; `critical` if the request's end waited for it."""
        self._visits.extend(
            (
                request,
                critical,
                visit.stage,
                visit.server,
                visit.begin,
                visit.queue,
                visit.compute,
                visit.transfer,
                visit.retrieval,
                visit.preemption,
            )
        )

    # -- columns --------------------------------------------------------------------------------

    def columns(
        self, replica_names: tuple[str, ...], server_names: tuple[str, ...]
    ) -> RequestColumns:
        """Return the log; servers are the replicas and after them the stations."""
        workload = self._workload
        size = len(workload)
        prompt, output = workload.prompt_tokens.copy(), workload.output_tokens.copy()
        finished = np.array(self._finished, np.int64)
        generated = np.where(finished == NEVER, 0, output)
        right = np.full(size, NEVER)
        for request, facts in self._walked.items():
            prompt[request], output[request], right[request] = facts
            generated[request] = 0
        for request, tokens in self._generated.items():
            generated[request] = tokens
        reused, fetched = np.zeros(size, np.int64), np.zeros(size, np.int64)
        for request, (cached, remote) in self._reused.items():
            reused[request], fetched[request] = cached, remote
        classes = self._classes
        retries, failed = np.zeros(size, np.int64), np.zeros(size, np.bool_)
        for request, times in self._retries.items():
            retries[request] = times
        failed[list(self._failed)] = True
        return RequestColumns(
            arrival=workload.arrival_ticks,
            scheduled=np.array(self._scheduled, np.int64),
            first_token=np.array(self._first_token, np.int64),
            last_token=np.array(self._last_token, np.int64),
            finished=finished,
            prompt_tokens=prompt,
            output_tokens=output,
            generated_tokens=generated,
            reused_tokens=reused,
            fetched_tokens=fetched,
            preemptions=np.array(self._preemptions, np.int64),
            pipeline=workload.pipeline,
            pipeline_names=workload.pipeline_names,
            replica=np.array(self._replica, np.int64),
            replica_names=replica_names,
            right=right,
            retries=retries,
            failed=failed,
            reason=tuple(self._reason.get(i, "") for i in range(size)),
            stages=self._stages(server_names),
            kind=np.full(size, -1) if classes is None else classes.numbers,
            kind_names=tuple(kind.name for kind in classes.classes) if classes else (),
            kind_slos=tuple(kind.slo for kind in classes.classes) if classes else (),
        )

    def _stages(self, server_names: tuple[str, ...]) -> StageColumns:
        """Return the visits of plain requests, which follow from their log, and of walks."""
        visits = np.concatenate([self._plain_visits(), self._walk_visits()])
        order = np.lexsort((visits[:, 4], visits[:, 0]))
        columns = [np.ascontiguousarray(column) for column in visits[order].T]
        names = tuple(
            f"{pipeline}/{stage}"
            for pipeline, stages in zip(
                self._workload.pipeline_names, self._stage_names, strict=True
            )
            for stage in stages
        )
        request, critical, stage, server, begin, queue, compute, transfer, retrieval, lost = columns
        return StageColumns(
            request=request,
            stage=stage,
            server=server,
            critical=critical.astype(np.bool_),
            begin=begin,
            queue=queue,
            compute=compute,
            transfer=transfer,
            retrieval=retrieval,
            preemption=lost,
            stage_names=names,
            server_names=server_names,
        )

    def _walk_visits(self) -> Column:
        return np.array(self._visits, np.int64).reshape(-1, _VISIT)

    def _plain_visits(self) -> Column:
        finished = np.array(self._finished, np.int64)
        plain = finished != NEVER
        plain[list(self._walked)] = False
        arrival = self._workload.arrival_ticks
        waits = np.zeros((len(finished), 4), np.int64)
        for request, ticks in self._waits.items():
            waits[request] = ticks
        # KV is retrieved while a request waits for its first step, so it was queued the less.
        queue = np.array(self._scheduled, np.int64) - arrival + waits[:, 0] - waits[:, 2]
        compute = finished - arrival - queue - waits[:, 1:].sum(axis=1)
        first_stage = np.array(self._first_stage, np.int64)
        visits = [
            np.arange(len(finished)),
            np.ones(len(finished), np.int64),
            first_stage[self._workload.pipeline],
            np.array(self._replica, np.int64),
            arrival,
            queue,
            compute,
            *waits[:, 1:].T,
        ]
        rows: Column = np.stack(visits, axis=1)[plain]
        return rows


def _waits(sequence: Sequence) -> tuple[int, int, int, int]:
    """Return the ticks that a sequence was requeued, transferred, retrieved and preempted."""
    stalled = sequence.stall_ticks  # in steps, so it was not queued the less for that
    return (
        sequence.requeued_ticks + stalled,
        sequence.transfer_ticks,
        sequence.retrieval_ticks + stalled,
        sequence.preempted_ticks,
    )
