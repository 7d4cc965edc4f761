"""Which messages of a stream are in hand, and when a stream that broke is tried again. Pure: no sockets, no clock."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TypeAlias

from bascule.answers import RankingResult, broken_contract, read_rankings
from bascule.errors import BasculeError, LimitExceededError, UnavailableError
from bascule.requests import MAX_QUERIES, stream_request
from bascule.v1.recommendation_service_pb2 import (
    Query,
    StreamRecommendItemsRequest,
    StreamRecommendItemsResponse,
)

INITIAL_DELAY = 0.1
"""Seconds before a broken stream is tried again for the first time."""

MAX_DELAY = 2.0

MAX_ASKED_DELAY = 60.0
"""Longer than that no server is waited for, whatever it asks."""

MAX_TRIES = 5
"""Tries in a row without an answer, 3 s and more in all."""

OnBreak: TypeAlias = Callable[[BasculeError, float], None]
"""Gets to know why a stream broke, and in how many seconds it is tried again."""


class MessageWindow:
    """The messages that were made of the caller's queries and are not answered yet: at most ``size``, oldest first.

    A message leaves by its answer alone, so that whatever becomes of the connection each query is answered once.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(self, template: StreamRecommendItemsRequest, queries_per_message: int, size: int) -> None:
        if not 1 <= queries_per_message <= MAX_QUERIES:
            raise ValueError(f"queries_per_message is from 1 to {MAX_QUERIES:,}; got {queries_per_message}")
        if size < 1:
            raise ValueError(f"window is at least 1; got {size}")
        self.queries_per_message = queries_per_message
        self._template = template
        self._size = size
        self._added_count = 0
        self._unanswered: deque[StreamRecommendItemsRequest] = deque()

    @property
    def has_room(self) -> bool:
        """Whether a further message may be made."""
        return len(self._unanswered) < self._size

    @property
    def unanswered(self) -> Sequence[StreamRecommendItemsRequest]:
        """What has to be sent again where a stream broke."""
        return self._unanswered

    def add(self, queries: Sequence[Query]) -> StreamRecommendItemsRequest:
        """Makes the next message."""
        request = stream_request(self._added_count, queries, self._template)
        self._added_count += 1
        self._unanswered.append(request)
        return request

    def answer(self, response: StreamRecommendItemsResponse) -> list[RankingResult]:
        """Takes the answer to the oldest message, and gives a result for each of its queries.

        Raises:
            InternalError: It is the answer to another message, or has more or fewer results.
        """
        expected = self._unanswered[0].sequence_id if self._unanswered else None
        if response.sequence_id != expected:
            raise broken_contract(f"the server answered message {response.sequence_id}; expected {expected}")
        return read_rankings(response, len(self._unanswered.popleft().queries))


@dataclass
class Source:
    """The caller's queries as messages, pulled as many at a time as go into one message of a stream.

    What goes wrong on the way, be it the caller's own iterable or a query that is none, is kept as ``error`` until
    everything that came before it is answered.
    """

    queries: Iterator[Query]
    is_exhausted: bool = False
    error: Exception | None = None

    def pull(self, count: int) -> list[Query]:
        """Up to ``count`` queries; fewer only where there are no more."""
        pulled: list[Query] = []
        try:
            pulled.extend(islice(self.queries, count))
        except Exception as error:  # noqa: BLE001 - the caller gets it in its turn
            self.error = error
        self.is_exhausted = len(pulled) < count
        return pulled


@dataclass
class AsyncSource:
    """The same for queries that have to be awaited."""

    queries: AsyncIterator[Query]
    is_exhausted: bool = False
    error: Exception | None = None

    async def pull(self, count: int) -> list[Query]:
        """Up to ``count`` queries; fewer only where there are no more."""
        pulled: list[Query] = []
        try:
            while len(pulled) < count:
                pulled.append(await anext(self.queries))
        except StopAsyncIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the caller gets it in its turn
            self.error = error
        self.is_exhausted = len(pulled) < count
        return pulled


class Resumption:
    """When to try a broken stream again: at most ``max_tries`` times in a row without an answer between them.

    Waits 0.1 s, then twice as long each time up to 2 s, or as long as the server asks for, up to a minute, and up to a
    fifth longer by chance, so that not all callers come back at once. ``on_break`` hears of each.

    Raises:
        ValueError: ``max_tries`` is below 0.
    """

    def __init__(
        self, max_tries: int = MAX_TRIES, on_break: OnBreak | None = None, random: Random | None = None
    ) -> None:
        if max_tries < 0:
            raise ValueError(f"max_tries is at least 0; got {max_tries}")
        self._max_tries = max_tries
        self._on_break = on_break
        self._random = random or Random()  # noqa: S311 - no secret
        self._tries = 0

    def progressed(self) -> None:
        """Notes that an answer came."""
        self._tries = 0

    def delay_after(self, error: BasculeError) -> float:
        """How many seconds to wait before the next try.

        Raises:
            BasculeError: The error itself, where another try would not help or there were enough.
        """
        # A message that is too large for the server stays so.
        mends = isinstance(error, UnavailableError) and not isinstance(error, LimitExceededError)
        if not mends or self._tries >= self._max_tries:
            raise error
        asked = min(error.failure.retry_after or 0.0, MAX_ASKED_DELAY)
        delay = max(min(INITIAL_DELAY * 2.0**self._tries, MAX_DELAY), asked)
        delay *= 1 + self._random.random() / 5
        self._tries += 1
        if self._on_break is not None:
            self._on_break(error, delay)
        return delay
