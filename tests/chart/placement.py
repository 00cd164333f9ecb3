"""Places replicas on worker pods as Ray does: Serve chooses the pod with its own code, then the pod a GPU."""

import random
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class Replica:
    """What one replica reserves."""

    gpus: float
    cpus: float
    memory: float = 0.0

    def resources(self) -> dict[str, float]:
        """Return the resources in Ray's names."""
        return {"GPU": self.gpus, "CPU": self.cpus, "memory": self.memory}


@dataclass
class Worker:
    """A worker pod: what is free of it, and of each of its GPUs."""

    gpus: list[float]
    cpus: float
    memory: float
    replicas: int = 0

    def fits(self, replica: Replica) -> bool:
        """Whether the raylet can start the replica: a fraction of one GPU, or whole free GPUs."""
        if replica.cpus > self.cpus + 1e-9 or replica.memory > self.memory:
            return False
        if replica.gpus < 1:
            return replica.gpus == 0 or any(free + 1e-9 >= replica.gpus for free in self.gpus)
        return sum(free == 1 for free in self.gpus) >= replica.gpus

    def start(self, replica: Replica) -> None:
        """Take what the replica reserves; a fraction comes from the fullest GPU that fits."""
        self.cpus -= replica.cpus
        self.memory -= replica.memory
        self.replicas += 1
        if 0 < replica.gpus < 1:
            chosen = min((f, n) for n, f in enumerate(self.gpus) if f + 1e-9 >= replica.gpus)[1]
            self.gpus[chosen] = round(self.gpus[chosen] - replica.gpus, 4)
        for _ in range(int(replica.gpus)):
            self.gpus[self.gpus.index(1)] = 0


@dataclass
class Pool:
    """The worker pods of a pool."""

    workers: list[Worker] = field(default_factory=list)

    def pack(self, batch: list[Replica]) -> bool:
        """Place replicas that start together by Serve's pack strategy. Returns whether all are placed."""
        ray = _scheduler()
        for replica in sorted(batch, key=lambda r: ray.requested(r.resources()), reverse=True):
            nodes = {str(n): ray.available(_free(worker)) for n, worker in enumerate(self.workers)}
            busy = {str(n): {object()} for n, worker in enumerate(self.workers) if worker.replicas}
            target = ray.best_fit(ray.requested(replica.resources()), nodes, busy)
            # Serve looks at the sum of a pod's GPUs only; the raylet then spills to another pod.
            order = [self.workers[int(target)]] if target else []
            if not _start([*order, *self.workers], replica):
                return False
        return True

    def scatter(self, replicas: list[Replica], seed: int) -> bool:
        """Place replicas in any pods that fit, as spreading may. Returns whether all are placed."""
        choose = random.Random(seed)
        return all(_start(choose.sample(self.workers, len(self.workers)), replica) for replica in replicas)


def _free(worker: Worker) -> dict[str, float]:
    return {"GPU": sum(worker.gpus), "CPU": worker.cpus, "memory": worker.memory}


def _start(workers: list[Worker], replica: Replica) -> bool:
    for worker in workers:
        if worker.fits(replica):
            worker.start(replica)
            return True
    return False


@dataclass(frozen=True)
class _Ray:
    requested: Any
    available: Any
    best_fit: Any


@cache
def _scheduler() -> _Ray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        from ray.serve._private import deployment_scheduler as ray  # noqa: PLC0415

    scheduler = object.__new__(ray.DeploymentScheduler)
    scheduler._compacting_node = None
    return _Ray(ray.RequestedResources, ray.AvailableNodeResources, scheduler._find_best_fit_node_for_pack)
