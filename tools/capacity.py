"""How many videos a fleet makes, and how long clients wait: a simulation driven by measured service times.

    python -m tools.capacity measure --workers 1 2 4 --out capacity.json    # this machine, some minutes
    python -m tools.capacity compare --measured capacity.json               # simulation and measurement
    python -m tools.capacity plan --measured capacity.json --workers 8 --rate 0.5

`measure` runs `kinema serve` with each number of workers. A burst of jobs shows how long each kind of job
takes with one worker, and how much workers slow each other down where they share processors. Then jobs come
at random times; `compare` predicts throughput and latency of that run from the bursts alone. `plan` predicts
those of another number of workers or another rate. On GPUs, one for each worker, nothing slows down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import json
import math
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from kinema.atomic_io import write_text
from kinema.errors import UserError

CLAIM_INTERVAL_S = 0.1
"""An idle worker looks for a job this often (`kinema.server.worker.POLL_INTERVAL_S`)."""
NUM_SIMULATIONS = 50
LOAD = 0.85
"""Rate of the random arrivals, as a share of what the workers can do."""
KINDS = (8, 16, 32)
"""Solver steps of the kinds of jobs."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A job: when it comes, in seconds, and the index of its kind."""

    time_s: float
    kind: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run or its simulation shows.

    Attributes:
        throughput: jobs per second from the first arrival to the last completion.
        mean_s, p95_s: seconds from the arrival of a job to its completion.
    """

    throughput: float
    mean_s: float
    p95_s: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """A measured run with some workers.

    Attributes:
        workers: of the server.
        slowdown: how many times longer a job takes while all of them are busy.
        arrivals: of the jobs that came at random times.
        outcome: of these.
    """

    workers: int
    slowdown: float
    arrivals: tuple[Arrival, ...]
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What `measure` writes.

    Attributes:
        model: that was served.
        service_s: seconds of work of jobs of each kind, with one worker.
        runs: one for each number of workers.
    """

    model: str
    service_s: tuple[tuple[float, ...], ...]
    runs: tuple[Run, ...]

    def slowdown(self) -> list[float]:
        """How many times longer a job takes with 1, 2, ... busy workers."""
        known = {1: 1.0} | {run.workers: run.slowdown for run in self.runs}
        numbers = sorted(known)
        result = []
        for count in range(1, numbers[-1] + 1):
            low = max(number for number in numbers if number <= count)
            high = min(number for number in numbers if number >= count)
            share = (count - low) / (high - low) if high > low else 0.0
            result.append(known[low] + share * (known[high] - known[low]))
        return result


def simulate(
    arrivals: Sequence[Arrival],
    service_s: Sequence[Sequence[float]],
    slowdown: Sequence[float],
    workers: int,
    rng: random.Random,
) -> Outcome:
    """Simulate a queue, first come first served, whose workers may share processors.

    Args:
        arrivals: in order of time.
        service_s: measured seconds of work of each kind of job.
        slowdown: see `Measurement.slowdown`; the last value holds for more workers.
        workers: number of workers.
        rng: draws service times, and the moments at which idle workers look for a job.
    """
    now, coming, numbers = 0.0, list(arrivals)[::-1], itertools.count()
    waiting: list[tuple[float, int, Arrival]] = []  # Earliest start, order, job.
    running: list[list[float]] = []  # Remaining work, arrival.
    latencies: list[float] = []
    while len(latencies) < len(arrivals):
        factor = slowdown[min(max(len(running), 1), len(slowdown)) - 1]
        ends = [now + job[0] * factor for job in running]
        completion = min(ends, default=math.inf)
        arrival = coming[-1].time_s if coming else math.inf
        start = max(waiting[0][0], now) if waiting and len(running) < workers else math.inf
        then = min(completion, arrival, start)
        for job in running:
            job[0] -= (then - now) / factor
        now = then
        if now == completion:
            latencies.append(now - running.pop(ends.index(completion))[1])
        elif now == arrival:
            # Of several idle workers the first one that looks gets the job; a busy one looks at once.
            idle = max(0, workers - len(running) - len(waiting))
            delay = min((rng.uniform(0, CLAIM_INTERVAL_S) for _ in range(idle)), default=0.0)
            heapq.heappush(waiting, (now + delay, next(numbers), coming.pop()))
        else:
            job = heapq.heappop(waiting)[2]
            running.append([rng.choice(service_s[job.kind]), job.time_s])
    return Outcome(
        throughput=len(latencies) / (now - arrivals[0].time_s),
        mean_s=statistics.fmean(latencies),
        p95_s=percentile(latencies, 0.95),
    )


def predict(arrivals: Sequence[Arrival], measurement: Measurement, workers: int) -> Outcome:
    """The mean of many simulations."""
    outcomes = [
        simulate(arrivals, measurement.service_s, measurement.slowdown(), workers, random.Random(seed))
        for seed in range(NUM_SIMULATIONS)
    ]
    return Outcome(
        **{
            field.name: statistics.fmean(getattr(outcome, field.name) for outcome in outcomes)
            for field in dataclasses.fields(Outcome)
        }
    )


def random_arrivals(count: int, rate: float, rng: random.Random) -> tuple[Arrival, ...]:
    """Jobs at random times (a Poisson process), of random kinds."""
    times = itertools.accumulate(rng.expovariate(rate) for _ in range(count))
    return tuple(Arrival(time_s=moment, kind=rng.randrange(len(KINDS))) for moment in times)


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile, interpolated between two values."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure this machine."""

    out: Path
    """File to write."""
    model: str = "testcard"
    """The model to serve; testcard waits instead of computing."""
    size: str = ""
    """Size of the videos."""
    workers: tuple[int, ...] = (1, 2, 4)
    """Numbers of workers; the first one is 1."""
    burst: int = 24
    """Jobs of a burst."""
    jobs: int = 40
    """Jobs at random times."""

    def run(self) -> None:
        """Measure, and write the file."""
        if not self.workers or self.workers[0] != 1:
            raise UserError("service times are those of one worker; begin --workers with 1")
        rng = random.Random(0)
        kinds = [rng.randrange(len(KINDS)) for _ in range(self.burst)]
        service: list[list[float]] = [[] for _ in KINDS]
        runs = []
        for workers in self.workers:
            with tempfile.TemporaryDirectory() as folder, _serving(self, workers, Path(folder)) as server:
                server.submit_at([Arrival(time_s=0.0, kind=0)] * workers)  # The first videos take longer.
                burst = [Arrival(time_s=0.0, kind=kind) for kind in kinds]
                ends = server.submit_at(burst)
                if workers == 1:
                    order = sorted(range(self.burst), key=ends.__getitem__)
                    for before, after in itertools.pairwise(order):
                        service[kinds[after]].append(ends[after] - ends[before])
                known = Measurement(model=self.model, service_s=_frozen(service), runs=tuple(runs))
                slowdown = _fit_slowdown(burst, known, workers, max(ends)) if workers > 1 else 1.0
                mean_s = statistics.fmean(statistics.fmean(values) for values in service)
                rate = LOAD * workers / slowdown / mean_s
                arrivals = random_arrivals(self.jobs, rate, rng)
                ends = server.submit_at(arrivals)
                latencies = [end - job.time_s for end, job in zip(ends, arrivals, strict=True)]
                outcome = Outcome(
                    throughput=len(arrivals) / (max(ends) - arrivals[0].time_s),
                    mean_s=statistics.fmean(latencies),
                    p95_s=percentile(latencies, 0.95),
                )
                runs.append(Run(workers=workers, slowdown=slowdown, arrivals=arrivals, outcome=outcome))
                print(f"{workers} workers: each job takes {slowdown:.2f} times as long; {outcome}")
        measurement = Measurement(model=self.model, service_s=_frozen(service), runs=tuple(runs))
        write_text(self.out, json.dumps(dataclasses.asdict(measurement)))


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare simulations with the measured runs."""

    measured: Path
    """File of `measure`."""

    def run(self) -> None:
        """Print a line for each number of workers."""
        measurement = read_measurement(self.measured)
        print("workers  jobs/s measured  predicted        p95 measured  predicted")
        for run in measurement.runs:
            predicted, measured = predict(run.arrivals, measurement, run.workers), run.outcome
            print(
                f"{run.workers:7}  {measured.throughput:15.3f}  {predicted.throughput:9.3f} "
                f"{predicted.throughput / measured.throughput - 1:+5.1%}  {measured.p95_s:12.2f}  "
                f"{predicted.p95_s:9.2f} {predicted.p95_s / measured.p95_s - 1:+5.1%}"
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Predict another fleet."""

    measured: Path
    """File of `measure`."""
    workers: int
    """Workers of the fleet."""
    rate: float
    """Videos per second."""
    jobs: int = 2000
    """Videos to simulate."""
    separate: bool = True
    """Each worker has a device of its own; otherwise all share the measured machine."""

    def run(self) -> None:
        """Print throughput and latency."""
        if self.workers < 1 or self.rate <= 0 or self.jobs < 1:
            raise UserError("give at least one of --workers and --jobs, and a --rate above 0")
        measurement = read_measurement(self.measured)
        slowdown = [1.0] if self.separate else measurement.slowdown()
        arrivals = random_arrivals(self.jobs, self.rate, random.Random(0))
        outcome = simulate(arrivals, measurement.service_s, slowdown, self.workers, random.Random(0))
        print(
            f"{outcome.throughput:.3f} videos/s ({86400 * outcome.throughput:,.0f} a day), latency "
            f"{outcome.mean_s:.1f} s, 95% within {outcome.p95_s:.1f} s"
        )


def _frozen(values: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values))


def _fit_slowdown(
    burst: Sequence[Arrival], measurement: Measurement, workers: int, makespan_s: float
) -> float:
    """The slowdown with which a simulated burst ends when the measured one did."""
    low, high = 0.5, 4.0 * workers
    while high - low > 0.005:
        middle = (low + high) / 2
        run = Run(
            workers=workers,
            slowdown=middle,
            arrivals=(),
            outcome=Outcome(throughput=0.0, mean_s=0.0, p95_s=0.0),
        )
        tried = dataclasses.replace(measurement, runs=(*measurement.runs, run))
        if len(burst) / predict(burst, tried, workers).throughput > makespan_s:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def read_measurement(path: Path) -> Measurement:
    """Read the file of `measure`.

    Raises:
        UserError: it can't be read.
    """
    try:
        values = json.loads(path.read_text())
        runs = tuple(
            Run(
                workers=run["workers"],
                slowdown=run["slowdown"],
                arrivals=tuple(Arrival(**arrival) for arrival in run["arrivals"]),
                outcome=Outcome(**run["outcome"]),
            )
            for run in values["runs"]
        )
        return Measurement(model=values["model"], service_s=_frozen(values["service_s"]), runs=runs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file of `measure` ({error}); write one first") from None


class _Server:
    """A running server whose job store this process reads."""

    def __init__(self, url: str, data: Path, body: dict[str, Any]) -> None:
        from kinema.server.sqlite_store import SqliteJobStore

        self._url, self._body = url, body
        self._store = SqliteJobStore(data, durable=False)

    def submit_at(self, arrivals: Sequence[Arrival]) -> list[float]:
        """Submit jobs at their times, and wait for all; seconds of their completion since the start."""
        import httpx

        start, ids, ends = time.monotonic(), [], {}
        with httpx.Client(timeout=60) as client:
            while len(ends) < len(arrivals):
                now = time.monotonic() - start
                while len(ids) < len(arrivals) and arrivals[len(ids)].time_s <= now:
                    steps = KINDS[arrivals[len(ids)].kind]
                    body = {**self._body, "num_inference_steps": steps, "seed": len(ids)}
                    ids.append(client.post(f"{self._url}/videos", json=body).raise_for_status().json()["id"])
                for job_id in ids:
                    if job_id not in ends:
                        job = self._store.get(job_id, owner=None)
                        if job is not None and job.is_finished:
                            ends[job_id] = time.monotonic() - start
                            if job.status != "completed":
                                raise UserError(f"a job failed: {job.error_message}")
                time.sleep(0.02)
        return [ends[job_id] for job_id in ids]


@contextlib.contextmanager
def _serving(config: Measure, workers: int, folder: Path) -> Iterator[_Server]:
    import httpx

    log = folder / "log"
    command = [sys.executable, "-m", "kinema", "serve", "--port", "0", "--data", str(folder / "data")]
    command += ["--model", config.model, "--workers", str(workers)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        url = ""
        while process.poll() is None:
            found = re.search(r"on (http://[0-9.:]+)/v1", log.read_text())
            url = found[1] if found else ""
            with contextlib.suppress(httpx.TransportError):
                if url and httpx.get(f"{url}/readyz").json().get("workers") == workers:
                    break
            time.sleep(0.1)
        else:
            raise UserError(f"the server ended: {log.read_text()[-500:]}")
        body: dict[str, Any] = {"prompt": "pace=0.05" if config.model == "testcard" else "a red ball"}
        if config.size:
            body["size"] = config.size
        yield _Server(f"{url}/v1", folder / "data", body)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    command = tyro.cli(
        Annotated[Measure, subcommand("measure")]
        | Annotated[Compare, subcommand("compare")]
        | Annotated[Plan, subcommand("plan")],
        args=arguments,
        description=__doc__,
    )
    try:
        command.run()
    except UserError as error:
        sys.exit(f"capacity: {error}")


if __name__ == "__main__":
    main()
