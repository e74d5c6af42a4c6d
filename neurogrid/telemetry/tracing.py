"""OpenTelemetry traces of a training: a trace a round, with its phases, the tasks that trained, and each task's agents.

Spans are made from the round's record when it has ended, in a thread of their own, so that nothing is measured twice
and a round does not wait. The driver alone makes them: tasks say when they trained whom, and need no tracing library.
A round has a trace of its own, named in its durable record, since a thousand rounds in one trace open in no viewer.
Exporting is by the usual OTEL_ variables, which the SDK reads; a collector that is gone costs spans, never a round.
"""

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.util.types import AttributeValue

from neurogrid.fl.record import AgentRecord, Round, reason_kind
from neurogrid.fl.state import State
from neurogrid.telemetry.catalogue import PHASES

_BACKLOG = 8
"""Rounds whose spans may wait to be made; of later ones only the round's own span is exported."""
_KEPT = 16
"""Rounds whose traces may still be asked for: the one before is being written."""
_END_S = 5.0
_S = 1_000_000_000


class RoundTraces:
    """Observer of `federate`, to be called before the ledger, which takes the traces' ids from it. Close it at the end.

    Args:
        run_id: stands in every span.
        version: of NeuroGrid.
        most_spans: that may wait for the collector.
        tell: told once, in a sentence, when spans cannot be exported.
    """

    def __init__(self, run_id: str, version: str, most_spans: int, tell: Callable[[str], None]) -> None:
        resource = Resource.create({"service.version": version})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "neurogrid"}))
        self._log = _Once(tell)
        logging.getLogger("opentelemetry").addHandler(self._log)
        logging.getLogger("opentelemetry").propagate = False
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=most_spans)
        self._provider.add_span_processor(self._processor)
        self._tracer: Tracer = self._provider.get_tracer("neurogrid", version)
        self._run_id = run_id
        self._rounds: OrderedDict[int, Span] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="tracing")
        self._backlog = threading.BoundedSemaphore(_BACKLOG)

    def after_round(self, record: Round, state: State) -> None:
        """Makes the round's span; its children follow in another thread."""
        ended = time.time_ns()
        began = ended - round(record.wallclock_s * _S)
        span = self._tracer.start_span("round", Context(), attributes=self._of_round(record), start_time=began)
        if not record.aggregated:
            span.set_status(Status(StatusCode.ERROR, record.void_reason))
        span.end(ended)
        self._rounds[record.round_id] = span
        if len(self._rounds) > _KEPT:
            self._rounds.popitem(last=False)
        if span.get_span_context().trace_flags.sampled:
            self._later(record, span, began)

    def trace_id(self, round_id: int) -> str:
        """Of a round that `after_round` was called with; empty where the sampler left it out."""
        span = self._rounds.get(round_id)
        if span is None or not span.get_span_context().trace_flags.sampled:
            return ""
        return format_trace_id(span.get_span_context().trace_id)

    def persisted(self, round_id: int, persist_s: float) -> None:
        """The round has just become durable, beside the next one's training: a phase that begins when it has ended."""
        span = self._rounds.get(round_id)
        if span is not None:
            ended = time.time_ns()
            began = ended - round(persist_s * _S)
            self._span("persist", set_span_in_context(span), began, ended, {})

    def close(self) -> None:
        """Exports what waits, for five seconds at most."""
        self._worker.shutdown()
        ending = threading.Thread(target=self._processor.shutdown, name="tracing-end", daemon=True)
        ending.start()
        ending.join(_END_S)
        logging.getLogger("opentelemetry").removeHandler(self._log)

    def __enter__(self) -> "RoundTraces":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _later(self, record: Round, span: Span, began: int) -> None:
        if not self._backlog.acquire(blocking=False):
            return

        def make() -> None:
            try:
                self._children(record, set_span_in_context(span), began)
            except Exception:
                # A span that cannot be made is no reason to end a training.
                logging.getLogger("opentelemetry").exception("a round's spans could not be made")
            finally:
                self._backlog.release()

        self._worker.submit(make)

    def _of_round(self, record: Round) -> dict[str, AttributeValue]:
        figures = record.figures
        attributes: dict[str, AttributeValue] = {
            "neurogrid.run": self._run_id,
            "neurogrid.round": record.round_id,
            "neurogrid.agents.asked": figures["n_total_agents"],
            "neurogrid.agents.answered": figures["n_answered_agents"],
            "neurogrid.agents.accepted": figures["n_accepted_agents"],
            "neurogrid.executors": figures["executors"],
            "neurogrid.bytes.down": figures["bytes_down"],
            "neurogrid.bytes.up": figures["bytes_up"],
        }
        for name, value in (("held_out", record.held_out_loss), ("training", figures["loss_mean"])):
            if math.isfinite(value):
                attributes[f"neurogrid.loss.{name}"] = value
        return attributes

    def _span(
        self, name: str, parent: Context, began: int, ended: int, attributes: Mapping[str, AttributeValue]
    ) -> Span:
        span = self._tracer.start_span(
            name, parent, attributes={"neurogrid.run": self._run_id, **attributes}, start_time=began
        )
        span.end(ended)
        return span

    def _children(self, record: Round, parent: Context, began: int) -> None:
        at = began
        for phase in PHASES[:-1]:
            until = at + round(record.figures[f"{phase}_s"] * _S)
            if phase == "train":
                self._train(record, parent, began, at, until)
            else:
                self._span(phase, parent, at, until, {"neurogrid.round": record.round_id})
            at = until

    def _train(self, record: Round, parent: Context, round_began: int, began: int, ended: int) -> None:
        span = self._tracer.start_span(
            "train",
            parent,
            attributes={"neurogrid.run": self._run_id, "neurogrid.round": record.round_id},
            start_time=began,
        )
        by_task: dict[int, list[AgentRecord]] = {}
        for agent in record.agents:
            if math.isfinite(agent.ended_s):
                by_task.setdefault(agent.task, []).append(agent)
            else:
                span.add_event("agent without an update", {"neurogrid.agent": agent.agent_id, "reason": agent.reason})
        span.end(ended)
        for task, agents in sorted(by_task.items()):
            self._task(task, agents, set_span_in_context(span), round_began)

    def _task(self, task: int, agents: list[AgentRecord], parent: Context, round_began: int) -> None:
        times = [_times(agent, round_began) for agent in agents]
        span = self._span(
            "task",
            parent,
            min(began for began, _ in times),
            max(ended for _, ended in times),
            {"neurogrid.task": task, "neurogrid.agents": len(agents)},
        )
        inside = set_span_in_context(span)
        for agent, (began, ended) in zip(agents, times, strict=True):
            self._span("agent", inside, began, ended, _of_agent(agent))


def _times(agent: AgentRecord, round_began: int) -> tuple[int, int]:
    """When an agent's training began and ended, in nanoseconds of Unix time."""
    ended = round_began + round(agent.ended_s * _S)
    trained_s = agent.train_s if math.isfinite(agent.train_s) else 0.0
    return max(round_began, ended - round(trained_s * _S)), ended


def _of_agent(agent: AgentRecord) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "neurogrid.agent": agent.agent_id,
        "neurogrid.district": agent.district,
        "neurogrid.task": agent.task,
        "neurogrid.accepted": agent.accepted,
        "neurogrid.windows": agent.windows,
    }
    if agent.reason:
        attributes["neurogrid.reason"] = reason_kind(agent.reason)
    for name, value in (("norm", agent.norm), ("train_loss", agent.train_loss)):
        if math.isfinite(value):
            attributes[f"neurogrid.{name}"] = value
    return attributes


class _Once(logging.Handler):
    """The SDK logs a line for each batch that it cannot export, amid a run's table; a person needs one."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell, self._told = tell, False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._told:
            self._told = True
            self._tell(f"traces are not exported as they should be: {record.getMessage()[:300]}")
