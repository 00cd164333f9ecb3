"""The loop of rank 0: take messages, step, report, one after the other until the replica closes its end.

A second thread reads the messages as they come, so the replica never waits for a step. It also sends a sign
of life, with the age of the step, so the replica can tell a long step from a process that hangs.
"""

import dataclasses
import logging
import threading
import time
from collections import deque

import torch

from service.device import memory
from service.engine.batching import Batcher
from service.engine.executor import LeadingExecutor
from service.engine.ranks.channel import Channel
from service.engine.ranks.messages import (
    Add,
    Beat,
    Cancel,
    FromRank,
    Progress,
    ResetCounters,
    SequenceEnd,
    Stopped,
    ToRank,
)
from service.engine.ranks.sequences import sequence_of
from service.engine.sequence import Sequence
from service.errors import EngineStopped, RequestError
from service.prompt.grammar import Grammars
from service.protocol.request import TokenLogprobs
from service.protocol.stats import RankStats

logger = logging.getLogger("capstan.engine")

BEAT_SECONDS = 0.5
IDLE_SECONDS = 60.0


@dataclasses.dataclass
class StepCounters:
    """Counts steps; see `EngineStats`."""

    steps: int = 0
    step_seconds: float = 0.0
    step_sequences: int = 0

    def add(self, seconds: float, sequences: int) -> None:
        """Count a step."""
        self.steps += 1
        self.step_seconds += seconds
        self.step_sequences += sequences


class StepLoop:
    """Drives a batcher for the replica at the other end of a channel."""

    def __init__(
        self,
        batcher: Batcher,
        channel: Channel[ToRank, FromRank],
        *,
        device: torch.device,
        image_token: int | None,
        grammars: Grammars,
        leading: LeadingExecutor | None = None,
    ) -> None:
        self.batcher = batcher
        self.device = device
        self.channel = channel
        self.image_token = image_token
        self.grammars = grammars
        self.leading = leading
        self._inbox = deque[Sequence | Cancel | ResetCounters]()
        self._wake = threading.Event()
        self._closed = False
        self._sequences: dict[int, Sequence] = {}
        self._step_began = time.monotonic()
        self._stepping = False
        self._steps = StepCounters()

    def run(self) -> None:
        """Serve until the replica closes its end. Raises EngineStopped if no later step can work."""
        reader = threading.Thread(target=self._read, name="messages", daemon=True)
        reader.start()
        try:
            while not self._closed:
                self._wake.clear()
                self._take_messages()
                self._step_began, self._stepping = time.monotonic(), True
                worked = self.batcher.step(self._between)
                if worked:
                    self._count_step()
                self._stepping = False
                self._report()
                if not worked and not self._inbox and not self._closed:
                    self._wake.wait(IDLE_SECONDS)
        except Exception as error:
            logger.exception("the engine's loop has ended")
            reason = str(error) if isinstance(error, EngineStopped) else "the engine's loop has failed"
            self._send(Stopped(reason))
            raise EngineStopped(reason) from error
        finally:
            self._closed = True
            self.channel.close()

    def _between(self) -> None:
        self._count_step()
        self._take_messages()
        self._report()

    def _count_step(self) -> None:
        began, self._step_began = self._step_began, time.monotonic()
        self._steps.add(self._step_began - began, len(self.batcher.running))

    def _stats(self) -> RankStats:
        return dataclasses.replace(self.batcher.stats(), **vars(self._steps))

    def _take_messages(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if isinstance(message, Sequence):
                self._sequences[message.number] = message
                self.batcher.add(message)
            elif isinstance(message, ResetCounters):
                self.batcher.reset_counters()
                self._steps = StepCounters()
                self._send(Progress({}, (), (), self._stats()))
            elif message.number in self._sequences:
                self._sequences[message.number].cancelled = True

    def _report(self) -> None:
        """Send what the step has changed, if anything."""
        ended, tokens, begun = self.batcher.retire(), dict[int, list[int]](), list[int]()
        likely = dict[int, list[TokenLogprobs]]()
        for sequence in (*ended, *self.batcher.running):
            if len(sequence.answer) > sequence.reported and not sequence.cancelled:
                tokens[sequence.number] = sequence.answer[sequence.reported :]
                if sequence.logprobs:
                    likely[sequence.number] = sequence.logprobs[sequence.reported :]
                sequence.reported = len(sequence.answer)
            if not sequence.begun and not sequence.holds_images:
                sequence.begun = True
                begun.append(sequence.number)
        for sequence in ended:
            self._sequences.pop(sequence.number, None)
        if ended or tokens or begun:
            ends = tuple(
                SequenceEnd(sequence.number, sequence.finish, sequence.timeline) for sequence in ended
            )
            self._send(Progress(tokens, tuple(begun), ends, self._stats(), likely))

    # -- in the thread that reads messages -------------------------------------------------------------

    def _read(self) -> None:
        beat = time.monotonic()
        try:
            while not self._closed:
                try:
                    message, descriptor = self.channel.receive(BEAT_SECONDS)
                except TimeoutError:
                    pass
                else:
                    self._put(message, descriptor)
                if time.monotonic() - beat >= BEAT_SECONDS:
                    beat = time.monotonic()
                    seconds = beat - self._step_began if self._stepping else 0.0
                    self._send(Beat(seconds, *memory(self.device)))
                    if self.leading is not None and (reason := self.leading.lost()):
                        self._send(Stopped(reason))
        except (EOFError, OSError):  # an end is closed
            pass
        finally:
            self._closed = True
            self._wake.set()

    def _put(self, message: ToRank, descriptor: int | None) -> None:
        if isinstance(message, Add):
            if self.leading is not None:
                self.leading.forward(message, descriptor)
            self._inbox.append(self._constrained(sequence_of(message, descriptor, self.image_token)))
        elif isinstance(message, Cancel | ResetCounters):
            self._inbox.append(message)
        else:
            raise TypeError(f"{type(message).__name__} is not for a rank that runs")
        self._wake.set()

    def _constrained(self, sequence: Sequence) -> Sequence:
        """The sequence with the matcher of its grammar, which the replica has compiled, too."""
        if sequence.sampling.grammar is not None:
            try:
                sequence.matcher = self.grammars.matcher(sequence.sampling.grammar)
            except RequestError:
                logger.exception("a grammar could not be compiled")
                sequence.failed = True
        return sequence

    def _send(self, message: FromRank) -> None:
        try:
            self.channel.send(message)
        except OSError:  # the replica is gone, which the other thread sees too
            self._closed = True
