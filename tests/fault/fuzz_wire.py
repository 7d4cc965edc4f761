"""Fuzzes what the server makes of messages: bytes are parsed, decoded, answered by a model and encoded.

    python -m fault.fuzz_wire {callers,operators} MODELS CORPUS OUTCOMES [OPTIONS OF LIBFUZZER]

An input is a byte that chooses the method, and a message. Where a message is none, is not valid or cannot be answered,
the caller is told so with an error of the table that is the caller's own; else the answer keeps its contract. Anything
else ends the process with another status than 0, a trace, and the input in a file. ``MODELS`` has the small model of
the tests, and is written to; ``OUTCOMES`` is a file that counts what became of the inputs, as JSON.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import atheris
import structlog
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

with atheris.instrument_imports(include=["bascule_server"]):
    from fault.in_process_calls import InProcessCalls

    from bascule_server.errors import ServiceError
    from bascule_server.server import RECOMMEND_ITEMS

from fault.answer_contract import check_answer, check_error
from fault.wire_seeds import SEEDS, methods_of
from message_mutations import mutate

BYTES_SHARE = 0.15
"""Of the inputs that are changed as bytes, and may be no messages any more."""
CHANGES = (1, 1, 1, 2, 4)
"""How many at once."""
TOLD_EVERY = 100
"""Inputs."""


class Method:
    """One method, by what it takes and gives."""

    def __init__(self, descriptor: Any) -> None:
        self.name = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        self.request = GetMessageClass(descriptor.input_type)
        self.response = GetMessageClass(descriptor.output_type)

    def parsed(self, message: bytes) -> Message | None:
        """The request; None where the bytes are none."""
        try:
            return self.request.FromString(message)
        except DecodeError:
            return None


class Target:
    """What is fuzzed."""

    def __init__(self, methods: list[Method], models: Path, outcomes: Path, *, changes: bool) -> None:
        """``changes``: whether answers may change from one call to the next."""
        self._methods = methods
        self._changes = changes
        self._outcomes_path = outcomes
        places = {method.request: place for place, method in enumerate(methods)}
        self.seeds = [bytes([places[type(seed)]]) + seed.SerializeToString() for seed in SEEDS if type(seed) in places]
        """Inputs to begin with."""
        self._faults: list[Any] = []
        structlog.configure(processors=[self._hear])
        self._calls = InProcessCalls(models)
        self._outcomes: Counter[str] = Counter()

    def run(self, data: bytes) -> None:
        """Has one input answered. Raises where the server does what it must not."""
        if not data:
            return
        method, message = self._method(data), data[1:]
        answers = self._outcome(method, message)
        if method.name == RECOMMEND_ITEMS and not self._changes:
            assert self._quick_outcome(message) == answers
        if self._faults:
            raise AssertionError(self._faults)
        # libFuzzer ends the process without a word to Python.
        if self._outcomes.total() % TOLD_EVERY == 0:
            self._outcomes_path.write_text(json.dumps(self._outcomes))

    def mutated(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another input, like this one."""
        chance = Random(seed)
        if chance.random() < BYTES_SHARE:
            changed: bytes = atheris.Mutate(data, max_size)
            return changed
        request = self._method(data).parsed(data[1:]) if data else None
        if request is None:
            data = chance.choice(self.seeds)
            request = self._method(data).request.FromString(data[1:])
        for _ in range(chance.choice(CHANGES)):
            mutate(request, chance)
        serialised = data[:1] + request.SerializeToString()
        return serialised if len(serialised) <= max_size else data

    def _method(self, data: bytes) -> Method:
        return self._methods[data[0] % len(self._methods)]

    def _outcome(self, method: Method, message: bytes) -> list[bytes] | str:
        try:
            answers = self._calls.answers(method.name, message)
        except ServiceError as error:
            return self._told(method, error)
        request = method.parsed(message)
        for answer in answers:
            check_answer(request, method.response.FromString(answer))
        self._outcomes[f"{method.name.rpartition('/')[2]}: OK"] += 1
        return answers

    def _told(self, method: Method, error: ServiceError) -> str:
        check_error(error)
        self._outcomes[f"{method.name.rpartition('/')[2]}: {error.reason.name}"] += 1
        return str(error)

    def _quick_outcome(self, message: bytes) -> list[bytes] | str:
        try:
            return [self._calls.quick_answer(message)]
        except ServiceError as error:
            return str(error)

    def _hear(self, _: object, __: str, line: Any) -> Any:
        """Hears of what was caught on the way because nobody foresaw it."""
        if line["event"] == "fault":
            self._faults.append(line)
        raise structlog.DropEvent


def main() -> None:
    which, models, corpus, outcomes, *options = sys.argv[1:]
    methods = list(map(Method, methods_of(which)))
    target = Target(methods, Path(models), Path(outcomes), changes=which == "operators")
    for number, seed in enumerate(target.seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], corpus, *options], target.run, custom_mutator=target.mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
