"""A checkpoint of this project as a model of lm-eval (EleutherAI's lm-evaluation-harness).

Importing this module registers the model as `interfuse`. `scripts/harness.py` does so for a command line, and
`lm_eval.simple_evaluate(InterfuseLM(run), tasks=..)` needs no registration. It differs from lm-eval's own models in
what it makes of a request (see `evaluation.external.conversation`): pictures and sound may be in any kind of request,
and where turns begin is said by marks, not by text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from data.batching.collate import collate_prompts
from data.batching.document import Document
from data.build import build_interleaver, build_processors
from data.device import choose_device
from data.media.given import Content
from data.progress import Progress, tell
from data.tokenizer import Tokenizer
from data.types import AUDIO, IMAGE, BadInputError, Message, Modality, Text
from evaluation.answering.predict import chunks
from evaluation.answering.reply import decoded
from evaluation.external.conversation import conversation, write_turns
from evaluation.external.likelihood import answered, documents_of, prompt_of, rolling_documents, without_end
from evaluation.run import check_answers
from fusion.checkpoint import load_model
from fusion.generation.decoding import generate
from fusion.generation.rules import Forbidden, Rule, Sampling

BATCH_SIZE, MAX_NEW_TOKENS = 64, 256
# Requests that have their media held at once, in batches.
BATCHES_PER_WINDOW = 4
Request = TypeVar("Request")


@register_model("interfuse")
class InterfuseLM(LM):
    """What lm-eval asks of a model: likelihoods of answers and of texts, and greedy or drawn answers.

    checkpoint: a run folder, or one of its checkpoints. which: newest or best. device: auto, cpu or cuda. batch_size:
    a number, or auto, which is 64. count_end: whether the token that ends an answer belongs to it, as in this project's
    own scores; else as in most models of the harness. seed: of answers that are drawn.

    truncated: how many contexts so far lost the beginning of their text to `data.max_tokens`.

    Raises:
        BadInputError: an argument is wrong, or the checkpoint cannot be used or never learned to answer.
    """

    MULTIMODAL = True  # lm-eval gives media to models that say so

    def __init__(
        self,
        checkpoint: str | Path = "",
        which: str = "newest",
        device: str = "auto",
        batch_size: int | str = BATCH_SIZE,
        count_end: bool = True,
        seed: int = 0,
        **others: Any,
    ) -> None:
        super().__init__()
        others.pop("max_batch_size", None)  # which lm-eval gives next to "auto"
        if others or not checkpoint:
            wrong = f"{next(iter(others))}: no such argument" if others else "checkpoint: has no value"
            raise BadInputError(f"model_args: {wrong}; give checkpoint=RUN, and if need be which, count_end or seed")
        self.batch_size = BATCH_SIZE if batch_size == "auto" else _positive(batch_size)
        self.count_end, self.seed, self.truncated = bool(count_end), seed, 0
        try:
            self._device = choose_device(device)
        except ValueError as error:
            raise BadInputError(str(error)) from error
        loaded = load_model(Path(checkpoint).expanduser(), self._device, which=which)
        check_answers(loaded)
        self.model, self.codec = loaded.model.eval(), Tokenizer.load(loaded.tokenizer_path)
        data = loaded.config.data
        self.interleaver = build_interleaver(
            data, self.codec, build_processors(data), self.model.layouts, self.model.modalities
        )
        self._forbidden = self.codec.forbidden_in_answers()

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's cache of requests, in which turns are written out."""
        return f"interfuse-{self.codec.fingerprint[:16]}"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The turns as one text, which only this model reads; they reach it with their marks."""
        return write_turns(chat_history)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each answer after its context: its log-likelihood in nats, and whether greedy decoding would give it."""

        def measure(window: Sequence[Instance]) -> list[tuple[float, bool]]:
            documents: list[Document] = []
            # Answers to one question come one after the other, and its media are read once.
            for (context, _), same in groupby(window, key=lambda request: (request.args[0], id(_media_of(request)))):
                group = list(same)
                answers = [Message("assistant", (Text(request.args[1].strip()),)) for request in group]
                own, cut = documents_of(self.interleaver, self._asked(context, group[0]), answers, _name(group[0]))
                self.truncated += len(own) * cut
                documents += own if self.count_end else [without_end(one, self.codec) for one in own]
            found = answered(self.model, documents, self._forbidden, self.batch_size)
            return [(-item.loss, item.greedy) for item in found]

        return self._in_windows("loglikelihood", requests, measure, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood in nats of each text as an answer to nothing, without its end.

        Of a text that is longer than `data.max_tokens`, the tokens after those see as many before them as fit.
        """

        def measure(window: Sequence[Instance]) -> list[float]:
            documents: list[Document] = []
            owners: list[int] = []
            for place, request in enumerate(window):
                own = rolling_documents(self.interleaver, self.codec, request.args[0], _name(request))
                documents, owners = documents + own, owners + [place] * len(own)
            found = answered(self.model, documents, self._forbidden, self.batch_size)
            sums = [0.0] * len(window)
            for owner, item in zip(owners, found, strict=True):
                sums[owner] -= item.loss
            return sums

        return self._in_windows("loglikelihood_rolling", requests, measure, disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """An answer to each context, up to the first of its stop sequences; greedy, unless `do_sample` is set."""

        def measure(window: Sequence[Instance]) -> list[str]:
            options = [self._decoding(request) for request in window]
            prompts = []
            for request, (most, _, _) in zip(window, options, strict=True):
                asked = self._asked(request.args[0], request)
                prompt, cut = prompt_of(self.interleaver, asked, most, _name(request))
                self.truncated += cut
                prompts.append(prompt)
            texts = [""] * len(window)
            places = sorted(range(len(window)), key=lambda place: (options[place][:2], len(prompts[place])))
            for (most, temperature), same in groupby(places, key=lambda place: options[place][:2]):
                for batch in chunks(list(same), self.batch_size):
                    replies = self._answers([prompts[place] for place in batch], most, temperature)
                    for place, text in zip(batch, replies, strict=True):
                        texts[place] = _until(text, options[place][2])
            return texts

        return self._in_windows("generate_until", requests, measure, disable_tqdm)

    def _answers(self, prompts: Sequence[Document], max_new_tokens: int, temperature: float) -> list[str]:
        rules: list[Rule] = [Forbidden(self._forbidden), Sampling(temperature, self._draws)]
        batch = collate_prompts(prompts).to(self._device)
        with torch.inference_mode():
            found = generate(self.model, batch, end_id=self.codec.end_id, max_new_tokens=max_new_tokens, rules=rules)
        return [decoded(self.codec, ids) for ids in found]

    def _decoding(self, request: Instance) -> tuple[int, float, list[str]]:
        """The most tokens of an answer, the temperature, and what ends it."""
        options = normalize_gen_kwargs(request.args[1], MAX_NEW_TOKENS)
        temperature = float(options.get("temperature", 0.0)) if options["do_sample"] else 0.0
        narrowing = [name for name in ("top_p", "top_k", "min_p") if options.get(name) not in (None, 0, 1, 1.0)]
        if temperature and narrowing:
            raise BadInputError(f"gen_kwargs: {narrowing[0]}: answers are drawn by temperature alone; leave it out")
        # Half of the longest document is for the question.
        return min(options["max_gen_toks"], self.interleaver.max_tokens // 2), temperature, options["until"]

    def _asked(self, context: str, request: Instance) -> tuple[Message, ...]:
        media = {
            modality: [_content(item) for item in items if item is not None]
            for name, modality in (("visual", IMAGE), ("audio", AUDIO))
            if (items := (_media_of(request) or {}).get(name))
        }
        return conversation(context, media, self.interleaver.background)

    def _in_windows(
        self, name: str, requests: Sequence[Instance], measure: Callable[[Sequence[Instance]], list[Any]], quiet: bool
    ) -> list[Any]:
        """The answers to requests, some batches at a time, and what was said of contexts that were too long."""
        found: list[Any] = []
        before = self.truncated
        self._draws = torch.Generator(self._device).manual_seed(self.seed)
        with Progress(name, len(requests), shown=not quiet) as bar:
            for window in chunks(requests, self.batch_size * BATCHES_PER_WINDOW):
                own = measure(window)
                for request, answer in zip(window, own, strict=True):
                    self.cache_hook.add_partial(name, request.args, answer)
                found += own
                bar.advance(len(window))
        if cut := self.truncated - before:
            most = self.interleaver.max_tokens
            tell(f"{name}: {cut} of {len(requests)} contexts lost their beginning, for data.max_tokens={most}")
        return found


def _media_of(request: Instance) -> Mapping[Modality, Iterable[Any]] | None:
    """What lm-eval gives with a request: `visual` and `audio`, the same object for all answers to one question."""
    return next(
        (item for item in request.args[1:] if isinstance(item, dict) and item.keys() & {"visual", "audio"}), None
    )


def _content(item: Any) -> Content:
    """A picture as it is; of sound, the samples and their rate."""
    if (isinstance(item, dict) and "array" in item) or hasattr(item, "get_all_samples"):
        return item["array"], int(item["sampling_rate"])
    return item


def _name(request: Instance) -> str:
    return f"{request.task_name or 'request'}:{request.doc_id}"


def _until(text: str, stops: Sequence[str]) -> str:
    """The text before the first of these."""
    return text[: min((place for stop in stops if stop and (place := text.find(stop)) >= 0), default=len(text))]


def _positive(batch_size: int | str) -> int:
    if not str(batch_size).isdecimal() or int(batch_size) < 1:
        raise BadInputError(f"batch_size={batch_size}: must be a number of 1 or more, or auto")
    return int(batch_size)
