"""Answers questions with one version of a model: encode, query tower, retrieve, rank.

Every answer in this project is made here, for a call, a batch, a stream, an evaluation and the proof of an artifact
alike; and the answer to a question is the same, to the last bit, whatever questions stand beside it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import (
    RANKING_PATH_POPULAR,
    RANKING_PATH_SIMILAR,
    RANKING_PATH_VECTOR,
)
from bascule_server.retrieval.retriever import UNRESTRICTED, Found, Restriction, Retriever, best, products
from bascule_server.retrieval.retrievers import Retrievers
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.diversity import pool_size
from bascule_server.scoring.encoder import QueryEncoder
from bascule_server.scoring.item_ids import UNKNOWN, Known
from bascule_server.scoring.listing import Shaped, shaped
from bascule_server.scoring.query import (
    Answer,
    Embed,
    ItemScores,
    NothingKnownError,
    QueryError,
    QueryVector,
    Question,
    Rank,
    Ranking,
    Score,
)
from bascule_server.scoring.ranking_stage import RankingStage
from bascule_server.scoring.reasons import most_alike
from bascule_server.scoring.subject import TOWER_PATHS, Subject, Subjects
from bascule_server.scoring.tower import QueryTower

MAX_UNKNOWN_IDS = 100
"""How many unknown ids an answer lists."""

_NO_ROWS = np.empty(0, np.int64)


@dataclass(slots=True)
class Task:
    """A question on its way to its answer."""

    question: Question
    subject: Subject
    unknown_item_ids: list[str]
    """Ids that the catalogue does not have: of the history, and of what a ranking must keep to."""
    restriction: Restriction = UNRESTRICTED
    candidates: NDArray[np.int64] | None = None
    """int64 [rows], distinct and ascending, no other is ranked. None: all are."""
    vector: NDArray[np.float32] | None = None
    """float32 [dimension]; None until embedded, and always on the popular path."""


class Scorer:
    """One version of a model, ready to answer. Called by one thread at a time."""

    def __init__(
        self,
        catalogue: Catalogue,
        subjects: Subjects,
        encoder: QueryEncoder,
        tower: QueryTower,
        retrievers: Retrievers,
        ranking_stage: RankingStage | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._subjects = subjects
        self._encoder = encoder
        self._tower = tower
        self._retrievers = retrievers
        self._ranking_stage = ranking_stage

    @property
    def catalogue(self) -> Catalogue:
        """The items."""
        return self._catalogue

    @property
    def retrievers(self) -> Retrievers:
        """What finds them."""
        return self._retrievers

    def with_items(self, catalogue: Catalogue, retrievers: Retrievers) -> "Scorer":
        """The same model with other items. Both together are called by one thread at a time."""
        subjects = self._subjects.with_catalogue(catalogue)
        return Scorer(catalogue, subjects, self._encoder, self._tower, retrievers, self._ranking_stage)

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """The answer to each question, in their order; a ``QueryError`` where a question has none."""
        started = self._start(questions)
        tasks = [task for task in started if isinstance(task, Task)]
        self._embed(tasks)
        answers = iter(self._answer(tasks))
        return [next(answers) if isinstance(task, Task) else task for task in started]

    def _start(self, questions: Sequence[Question]) -> list[Task | QueryError]:
        """Looks up whom they are for and what their rankings must keep to; the ids of all of them together."""
        queries = [question.query for question in questions]
        lists = ((query.history, query.excluded_item_ids, query.candidate_item_ids) for query in queries)
        known = iter(self._catalogue.known(list(chain.from_iterable(lists))))
        return [
            self._start_one(question, history, excluded, candidates)
            for question, history, excluded, candidates in zip(questions, known, known, known, strict=True)
        ]

    def _start_one(self, question: Question, history: Known, excluded: Known, candidates: Known) -> Task | QueryError:
        try:
            subject = self._subjects.of(question.query, history)
        except QueryError as error:
            return error
        if subject.path == RANKING_PATH_POPULAR and _needs_knowledge(question.ask):
            return NothingKnownError()
        if not isinstance(question.ask, Rank):
            return Task(question, subject, list(subject.unknown_item_ids))
        excluded, candidates = self._catalogue.present(excluded), self._catalogue.present(candidates)
        kept_out = [excluded.rows] if len(excluded.rows) else []
        if question.ask.exclude_history:
            kept_out.append(subject.had)
        if subject.item_row is not None:
            kept_out.append(np.array([subject.item_row]))
        return Task(
            question,
            subject,
            unknown_item_ids=[*subject.unknown_item_ids, *excluded.unknown, *candidates.unknown],
            restriction=Restriction(_joined(kept_out), self._catalogue.allowed(question.ask.filters)),
            candidates=np.unique(candidates.rows) if question.query.candidate_item_ids else None,
        )

    def _embed(self, tasks: Sequence[Task]) -> None:
        """Gives each task its vector."""
        by_tower = [task for task in tasks if task.subject.path in TOWER_PATHS]
        if by_tower:
            vectors = self._tower.vectors(self._encoder.encode([task.subject for task in by_tower]))
            for task, vector in zip(by_tower, vectors, strict=True):
                task.vector = vector
        for task in tasks:
            if task.subject.path == RANKING_PATH_VECTOR:
                task.vector = task.question.query.vector
            elif task.subject.item_row is not None:
                (task.vector,) = self._retrievers.similar.vectors_of(np.array([task.subject.item_row]))

    def _answer(self, tasks: Sequence[Task]) -> list[Answer]:
        """The answers to tasks that have their vectors. Rankings are retrieved together."""
        asked = [(task, task.question.ask) for task in tasks]
        rankings = iter(self._rankings([(task, ask) for task, ask in asked if isinstance(ask, Rank)]))
        answers: list[Answer] = []
        for task, ask in asked:
            match ask:
                case Rank():
                    answers.append(next(rankings))
                case Score():
                    answers.append(self._item_scores(task, ask))
                case Embed():
                    answers.append(QueryVector(_given(task.vector), task.subject.path))
        return answers

    def _rankings(self, asked: Sequence[tuple[Task, Rank]]) -> list[Ranking]:
        found = self._best_ranked(asked, [pool_size(rank) for _, rank in asked])
        kept = [self._shaped(task, rank, each) for (task, rank), each in zip(asked, found, strict=True)]
        listed = self._catalogue.item_ids.listed([each.found.rows for each in kept])
        return [
            Ranking(
                items,
                each.found.scores,
                task.subject.path,
                _listed(task.unknown_item_ids),
                self._catalogue.attributes(each.found.rows.tolist(), rank.attributes) if rank.attributes else None,
                each.shortfall,
                self._because(task, rank, each.found.rows),
                self._is_ranked(task, rank),
            )
            for (task, rank), each, items in zip(asked, kept, listed, strict=True)
        ]

    def _because(self, task: Task, rank: Rank, rows: NDArray[np.int64]) -> list[list[str]] | None:
        """Ids of the history that was read, for each of the items in these rows."""
        if not rank.because_count or task.subject.path not in TOWER_PATHS or not self._encoder.history_length:
            return None
        history = task.subject.history[-self._encoder.history_length :]
        if not len(history):
            return None
        alike = most_alike(rows, history, rank.because_count, self._retrievers.similar)
        item_ids = iter(self._catalogue.item_ids.of(chain.from_iterable(each.tolist() for each in alike)))
        return [list(islice(item_ids, len(each))) for each in alike]

    def _shaped(self, task: Task, rank: Rank, found: Found) -> Shaped:
        """What is kept of the best items."""
        column = None if rank.cap is None else self._catalogue.column(rank.cap.attribute)
        vectors_of = self._retriever_of(task).vectors_of
        return shaped(found, rank, column, vectors_of, lambda count: self._best_ranked([(task, rank)], [count])[0])

    def _best_ranked(self, asked: Sequence[tuple[Task, Rank]], counts: Sequence[int]) -> list[Found]:
        """The best items for each task: by the ranking tower, of at least its number of candidates, where it ranks."""
        stage, tasks = self._ranking_stage, [task for task, _ in asked]
        if stage is None:
            return self._best(tasks, counts)
        is_ranked = [self._is_ranked(task, rank) for task, rank in asked]
        wanted = [
            max(count, stage.candidate_count) if it else count for count, it in zip(counts, is_ranked, strict=True)
        ]
        found = self._best(tasks, wanted)
        directions_of = self._retrievers.similar.vectors_of
        for index in np.flatnonzero(is_ranked).tolist():
            ranked = stage.ranked(found[index], tasks[index].subject, directions_of)
            found[index] = Found(ranked.rows[: counts[index]], ranked.scores[: counts[index]])
        return found

    def _is_ranked(self, task: Task, rank: Rank) -> bool:
        return self._ranking_stage is not None and not rank.skip_ranking and task.subject.path in TOWER_PATHS

    def _best(self, tasks: Sequence[Task], counts: Sequence[int]) -> list[Found]:
        """The best items for each task, within its exclusions, filters and candidates."""
        found: dict[int, Found] = {}
        searches: dict[Retriever, list[int]] = defaultdict(list)
        for index, task in enumerate(tasks):
            if task.candidates is not None:
                rows = task.restriction.remaining(task.candidates)
                found[index] = best(rows, self._scores(task, rows), counts[index])
            elif task.vector is None:
                found[index] = self._catalogue.most_popular(counts[index], task.restriction)
            else:
                searches[self._retriever_of(task)].append(index)
        for retriever, indices in searches.items():
            queries = np.array([_given(tasks[index].vector) for index in indices])
            results = retriever.search(queries, [counts[i] for i in indices], [tasks[i].restriction for i in indices])
            found |= zip(indices, results, strict=True)
        return [found[index] for index in range(len(tasks))]

    def _retriever_of(self, task: Task) -> Retriever:
        return self._retrievers.similar if task.subject.path == RANKING_PATH_SIMILAR else self._retrievers.ranking

    def _scores(self, task: Task, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [rows], the scores of the items in these rows."""
        if task.vector is None:
            return self._catalogue.popularity_of(rows)
        return products(task.vector, self._retriever_of(task).vectors_of(rows))

    def _item_scores(self, task: Task, ask: Score) -> ItemScores:
        rows = self._catalogue.item_ids.rows(ask.item_ids)
        is_known = rows != UNKNOWN
        scores = np.full(len(rows), np.nan, np.float32)
        scores[is_known] = self._scores(task, rows[is_known])
        unknown = [item_id for item_id, known in zip(ask.item_ids, is_known.tolist(), strict=True) if not known]
        return ItemScores(scores, task.subject.path, _listed([*task.unknown_item_ids, *unknown]))


def _needs_knowledge(ask: Rank | Score | Embed) -> bool:
    return isinstance(ask, Embed) or (isinstance(ask, Rank) and ask.forbid_fallback)


def _listed(unknown_item_ids: Sequence[str]) -> list[str]:
    """The first distinct ones."""
    if not unknown_item_ids:
        return []
    return list(dict.fromkeys(unknown_item_ids))[:MAX_UNKNOWN_IDS]


def _joined(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return rows[0] if len(rows) == 1 else np.concatenate(rows) if rows else _NO_ROWS


def _given(vector: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if vector is None:
        raise ValueError("a query without a vector got where one with a vector belongs")
    return vector
