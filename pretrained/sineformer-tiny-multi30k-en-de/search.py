r"""Greedy and beam search (Vaswani et al., 2017, section 6.1) over `IncrementalDecoder`.

Beam search keeps the N best beginnings of a translation and extends each by every token of the vocabulary. The 2 N
best extensions are its candidates: one among the first N that ends the text becomes a hypothesis, and the N best of the
others are the next beginnings. Hypotheses of different lengths are compared by

        score(y) = log P(y | x) / |y|^length_penalty

where |y| counts the generated tokens, the end token too. It is the length normalisation of Wu et al. (2016, "Google's
Neural Machine Translation System", section 7) without the 5 that they add to numerator and denominator; the paper uses
theirs with 0.6. Order, scores, ends and padding are those of `generate` in transformers.

Letters of the shape comments: B sentences, N beams, C candidates, R returned hypotheses, T length, V target vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .incremental_decoder import IncrementalDecoder
from .likeliest_tokens import chunk_maxima, likeliest, likeliest_extensions, log_sum_exp

IMPOSSIBLE = -1.0e9  # score of what must not win, and still a number
WORTH_DROPPING = 0.25  # share of the sentences that are finished before they leave the batch


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search.

    Args:
        beams: N; 1 for greedy search. returned: R, at most N.
        length_penalty, early_stopping: of beam search, as in `GenerationConfig`.
        limits: the greatest length of each translation, its prompt included, `[B]`. longest: the greatest of these.
        min_length: the least length. ends: the tokens that end a translation, `[E]`.
        pad: the token behind the end of a translation.
        records: whether what every step computes is returned too, for all sentences up to the last step.
        keeps_scores, keeps_logits: whether scores and logits `[B * N, V]` of every step are among it.
    """

    beams: int
    returned: int
    length_penalty: float
    early_stopping: bool | str
    limits: torch.Tensor
    longest: int
    min_length: int
    ends: torch.Tensor
    pad: int
    records: bool
    keeps_scores: bool
    keeps_logits: bool


@dataclass
class SearchResult:
    """Translations `[B * R, T]` and, if asked for, what led to them.

    Args:
        sequences: prompts and translations. scores, logits: of each step, `[B * N, V]`.
        sequences_scores: of each hypothesis, `[B * R]`, and beam_indices: the row of `scores` that each of its tokens
            was chosen from, `[B * R, T]`, -1 behind the end; of beam search alone.
    """

    sequences: torch.Tensor
    scores: list[torch.Tensor] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)
    sequences_scores: torch.Tensor | None = None
    beam_indices: torch.Tensor | None = None


@dataclass(frozen=True)
class Hypotheses:
    """Hypotheses of some sentences `[B']`.

    Args:
        sentences: their numbers in the batch. scores: `[B', R]`.
        tokens: without the prompt, `[B', R, T]`. rows: the beams that these were chosen from, -1 behind the end.
    """

    sentences: torch.Tensor
    tokens: torch.Tensor
    rows: torch.Tensor
    scores: torch.Tensor


class Search:
    """Common part of greedy and beam search: the next scores, and sentences that leave the batch when finished.

    Args:
        decoder: at the beginning of all translations. head: the output projection.
        prompt: what each translation starts with, `[B, T]`.
    """

    def __init__(
        self,
        decoder: IncrementalDecoder,
        head: Callable[[torch.Tensor], torch.Tensor],
        prompt: torch.Tensor,
        options: SearchOptions,
    ) -> None:
        self.decoder, self.head, self.prompt, self.options = decoder, head, prompt, options
        self.length = self.prompt_length = prompt.shape[1]
        self.limits = options.limits  # [B], of the sentences that are still in the batch
        self.sentences = torch.arange(len(prompt), device=prompt.device)  # [B], their numbers
        self.scores: list[torch.Tensor] = []
        self.logits: list[torch.Tensor] = []
        for tokens in prompt[:, :-1].unbind(1):
            decoder.step(tokens.unsqueeze(1).expand(-1, options.beams))

    def next_logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Decode `tokens` `[B, N]`; return what the head says of the next ones, `[B, N, V]` in fp32."""
        logits = self.head(self.decoder.step(tokens)).to(torch.float32)  # [B, N, V]
        if self.options.keeps_logits:
            self.logits.append(logits.flatten(0, 1).clone())
        return logits

    def forbid_early_ends(self, scores: torch.Tensor) -> torch.Tensor:
        """Make the end tokens impossible in `scores` `[..., V]`, in place, while translations are too short."""
        if self.length < self.options.min_length:
            scores.index_fill_(-1, self.options.ends, -torch.inf)
        return scores

    def ends(self, tokens: torch.Tensor) -> torch.Tensor:
        """Whether a translation that gets these tokens `[B, ...]` as its next ones ends there."""
        at_limit = self.limits <= self.length + 1  # [B]
        return torch.isin(tokens, self.options.ends) | at_limit.view(-1, *[1] * (tokens.ndim - 1))

    def staying(self, finished: torch.Tensor) -> torch.Tensor | None:
        """Return the places of the sentences that are not finished `[B]`; None while it is not worth moving them."""
        count = int(finished.sum())
        if self.options.records or count < WORTH_DROPPING * len(finished) or count in (0, len(finished)):
            return None
        return finished.logical_not().nonzero().squeeze(1)  # [B']

    def keep(self, places: torch.Tensor) -> None:
        """Continue with the sentences at these places `[B']` alone."""
        self.decoder.keep(places)
        self.limits, self.sentences = self.limits[places], self.sentences[places]


class GreedySearch(Search):
    """Take the likeliest next token at every step."""

    def run(self) -> SearchResult:
        """Search until every translation has ended."""
        options = self.options
        shape = (len(self.prompt), options.longest)
        sequences = self.prompt.new_full(shape, options.pad)  # [B, T]
        sequences[:, : self.length] = self.prompt
        tokens = self.prompt[:, -1]  # [B]
        finished = torch.zeros_like(tokens, dtype=torch.bool)  # [B]
        while not finished.all():
            scores = self.forbid_early_ends(self.next_logits(tokens.unsqueeze(1)).squeeze(1))  # [B, V]
            if options.keeps_scores:
                self.scores.append(scores)
            tokens = likeliest(scores).masked_fill(finished, options.pad)  # [B]
            sequences[self.sentences, self.length] = tokens
            finished = finished | self.ends(tokens)
            self.length += 1
            if (stay := self.staying(finished)) is not None:
                self.keep(stay)
                tokens, finished = tokens[stay], finished[stay]
        return SearchResult(sequences[:, : self.length], self.scores, self.logits)


class BeamSearch(Search):
    """Keep the N likeliest beginnings at every step, and the N best hypotheses that have ended.

    Attributes:
        running: log-probabilities of the beginnings, `[B, N]`, best first.
        history: for each step, of each beginning, its last token and the beam that it continued, `[B, N, 2]`.
        best: scores of the hypotheses, `[B, N]`, best first, and filled: whether there is one yet, `[B, N]`.
        endings: their lengths, the beam that each continued and its last token, `[B, N, 3]`.
        improvable: whether the beginnings may still lead to something better, `[B]`.
    """

    def __init__(
        self,
        decoder: IncrementalDecoder,
        head: Callable[[torch.Tensor], torch.Tensor],
        prompt: torch.Tensor,
        options: SearchOptions,
    ) -> None:
        super().__init__(decoder, head, prompt, options)
        shape = (len(prompt), options.beams)
        self.running = torch.full(shape, IMPOSSIBLE, device=prompt.device)
        self.running[:, 0] = 0.0  # all beams are alike at first, so that one is enough
        self.best = torch.full_like(self.running, IMPOSSIBLE)
        self.filled = torch.zeros_like(self.running, dtype=torch.bool)
        self.endings = prompt.new_zeros(*shape, 3)
        self.improvable = torch.ones(len(prompt), dtype=torch.bool, device=prompt.device)
        self.history: list[torch.Tensor] = []
        self.left: list[Hypotheses] = []  # of the sentences that have left the batch

    def run(self) -> SearchResult:
        """Search until no translation can be improved any more."""
        tokens = self.prompt[:, -1:].expand(-1, self.options.beams)  # [B, N]
        while True:
            scores, candidates = self.extend(self.next_logits(tokens))  # [B, C], [B, C, 2]
            ended = self.ends(candidates[..., 0])  # [B, C]
            self.collect(scores, candidates, ended)
            tokens = self.advance(scores, candidates, ended)  # [B, N]
            full = self.full()
            finished = full | ~self.improvable | ended.all(dim=1)  # [B]
            if finished.all() and (not self.options.records or not self.improvable.any() or full.all() or ended.all()):
                break
            if (stay := self.staying(finished)) is not None:
                self.left.append(self.hypotheses(finished.nonzero().squeeze(1)))
                self.keep(stay)
                tokens = tokens[stay]
        return self.result()

    def extend(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Extend the beginnings by every token, by their logits `[B, N, V]`.

        Returns:
            The log-probabilities of the candidates `[B, C]`, best first, and of each candidate its last token and the
            beam that it continues, `[B, C, 2]`. There are enough that N continue even if each beam ends in every way.
        """
        maxima = chunk_maxima(logits)
        normalizer = log_sum_exp(logits, maxima)  # [B, N]
        if self.length < self.options.min_length:
            maxima = chunk_maxima(self.forbid_early_ends(logits))
        if self.options.keeps_scores:
            self.scores.append((logits - normalizer.unsqueeze(-1)).flatten(0, 1))  # [B * N, V]
        count = max(2, 1 + len(self.options.ends)) * self.options.beams
        return likeliest_extensions(logits, maxima, normalizer, self.running, count)

    def full(self) -> torch.Tensor:
        """Whether a sentence `[B]` has N hypotheses and wants no more, with `early_stopping=True`."""
        if self.options.early_stopping is not True:
            return torch.zeros_like(self.improvable)
        return self.filled.all(dim=1)

    def collect(self, scores: torch.Tensor, candidates: torch.Tensor, ended: torch.Tensor) -> None:
        """Keep the N best of the hypotheses so far and of those that `ended` among the first N candidates."""
        beams = self.options.beams
        new = ended[:, :beams] & (self.improvable & ~self.full()).unsqueeze(1)  # [B, N]
        if not new.any():
            return
        count = self.length + 1 - self.prompt_length
        normalized = (scores[:, :beams] / count**self.options.length_penalty).masked_fill(~new, IMPOSSIBLE)
        lengths = torch.full_like(candidates[:, :beams, :1], count)
        endings = torch.cat([lengths, candidates[:, :beams]], dim=2)  # [B, N, 3]
        self.best, order = torch.cat([self.best, normalized], dim=1).topk(beams)  # of [B, 2 * N]
        self.filled = torch.cat([self.filled, new], dim=1).gather(1, order)
        self.endings = torch.cat([self.endings, endings], dim=1).take_along_dim(order.unsqueeze(2), dim=1)

    def advance(self, scores: torch.Tensor, candidates: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        """Make the N best unfinished candidates the next beginnings; return their last tokens `[B, N]`."""
        self.running, order = (scores + ended * IMPOSSIBLE).topk(self.options.beams)
        chosen = candidates.take_along_dim(order.unsqueeze(2), dim=1)  # [B, N, 2]
        self.history.append(chosen)
        self.decoder.follow(chosen[..., 1])
        self.length += 1
        self.improvable = self.improvable & self.may_improve()
        return chosen[..., 0]

    def may_improve(self) -> torch.Tensor:
        """Whether the best beginning of a sentence `[B]` could still beat its worst hypothesis.

        A positive length penalty favours what is longer, so that "never" takes the greatest length for granted. Else
        the score now is taken for the best possible one, which it need not be.
        """
        penalty, length = self.options.length_penalty, self.length - self.prompt_length
        if self.options.early_stopping == "never" and penalty > 0:
            length = self.options.longest - self.prompt_length
        possible = self.running[:, :1] / length**penalty  # [B, 1]
        worst = self.best[:, -1:].where(self.filled, torch.full_like(self.best, IMPOSSIBLE))  # [B, N]
        return (possible > worst).any(dim=1)

    def keep(self, places: torch.Tensor) -> None:
        """Continue with the sentences at these places `[B']` alone."""
        super().keep(places)
        self.running, self.improvable = self.running[places], self.improvable[places]
        self.best, self.filled, self.endings = self.best[places], self.filled[places], self.endings[places]
        self.history = [each[places] for each in self.history]

    def hypotheses(self, places: torch.Tensor) -> Hypotheses:
        """Return the R best hypotheses of the sentences at these places `[B']`, read from their ends to the prompt."""
        returned = self.options.returned
        lengths, last, beams = self.endings[places, :returned].unbind(2)  # [B', R] each
        tokens = lengths.new_full((*lengths.shape, int(lengths.max())), self.padding())  # [B', R, T]
        rows = torch.full_like(tokens, -1)
        for index in reversed(range(tokens.shape[2])):
            before = self.history[index][places].take_along_dim(beams.unsqueeze(2), dim=1)  # [B', R, 2]
            inside, at_end = lengths - 1 > index, lengths - 1 == index  # [B', R] each
            beams = before[..., 1].where(inside, beams)
            tokens[..., index] = before[..., 0].where(inside, last.where(at_end, tokens[..., index]))
            rows[..., index] = beams.where(inside | at_end, rows[..., index])
        return Hypotheses(self.sentences[places], tokens, rows, self.best[places, :returned])

    def padding(self) -> int:
        """Return the token behind the end, as beam search in transformers has it: none has the number 0."""
        return self.options.pad or int(self.options.ends[0])

    def result(self) -> SearchResult:
        """Put the hypotheses of all sentences into their order."""
        found = [*self.left, self.hypotheses(torch.arange(len(self.sentences), device=self.sentences.device))]
        order = torch.cat([each.sentences for each in found]).argsort()
        longest = max(each.tokens.shape[2] for each in found)

        def join(parts: list[torch.Tensor], filler: int) -> torch.Tensor:
            padded = [torch.nn.functional.pad(each, (0, longest - each.shape[2]), value=filler) for each in parts]
            return torch.cat(padded)[order].flatten(0, 1)  # [B * R, T]

        tokens = join([each.tokens for each in found], self.padding())
        prompts = self.prompt.repeat_interleave(self.options.returned, dim=0)
        rows = join([each.rows for each in found], -1)
        offsets = torch.arange(len(order), device=rows.device).repeat_interleave(self.options.returned)
        rows = (rows + self.options.beams * offsets.unsqueeze(1)).masked_fill(rows < 0, -1)
        return SearchResult(
            torch.cat([prompts, tokens], dim=1),
            self.scores,
            self.logits,
            torch.cat([each.scores for each in found])[order].flatten(),
            rows.to(torch.int32),
        )
