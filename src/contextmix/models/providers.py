"""Whoever says how probable a continuation of a prompt is: a loaded model, or a server behind an API.

Ablations by deleting text need nothing else, so they run against any server that speaks the completions protocol of
OpenAI and returns the log-probabilities of the prompt (``echo`` with ``logprobs``), as vLLM does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

import numpy as np
import torch
from numpy.typing import NDArray

from contextmix.errors import BadInput, BadOption, ServerRefused, UnsupportedModel
from contextmix.models.ablations import Remembered
from contextmix.models.generate import refuse_other_models
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.values import Progress
from contextmix.tracing.recording.modes import undisturbed
from contextmix.tracing.runs.ablate import Variant, answer_log_probs

Numbers = NDArray[np.float64]
KEY = "CONTEXTMIX_API_KEY"
"""The environment variable that may hold the key: no other program's, whose key would go to another server."""


class Provider(Protocol):
    """Says how probable a continuation of a prompt is."""

    def log_probs(self, prompt: str, continuation: str) -> Numbers:
        """log p of each token of the continuation (token,), in nats."""


@dataclass(frozen=True)
class ModelProvider:
    """A loaded causal language model as a provider.

    Example:
        >>> import contextmix
        >>> stories = ModelProvider(contextmix.load("demo-decoder"))
        >>> stories.log_probs("Once upon a time, there was a little girl named", " Lily").round(2)
        array([-0.08])
    """

    loaded: LoadedModel

    @undisturbed
    def log_probs(self, prompt: str, continuation: str) -> Numbers:
        """See `Provider`.

        Raises:
            UnsupportedModel: If the model does not go on with texts.
            BadInput: If the continuation is empty or merges with the prompt.
            TooLong: If both do not fit into the model's context.
        """
        refuse_other_models(self.loaded.model)
        before, whole = (self.loaded.encode(text)[0].tokens for text in (prompt, prompt + continuation))
        assert before is not None
        assert whole is not None
        assert before.ids is not None
        assert whole.ids is not None
        said = len(whole.ids) - len(before.ids)
        if said < 1 or whole.ids[: len(before.ids)] != before.ids:
            raise BadInput(_MERGED.format(text=continuation))
        with self.loaded.turn:
            found: Numbers = answer_log_probs(self.loaded.model, [Variant(torch.tensor(whole.ids))], said)[0].numpy()
        return found


@dataclass(frozen=True)
class Server:
    """A server with the completions protocol of OpenAI, asked for the log-probabilities of a prompt.

    Attributes:
        url: Of the API, up to and including the version, such as ``http://localhost:8000/v1``.
        model: The name under which the server knows the model.
        key: Sent as a bearer token; left out, what the environment variable ``CONTEXTMIX_API_KEY`` holds, if it holds
            anything. It is never shown, and never sent to another address than ``url``.
        timeout: Seconds that one answer may take.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadOption(
                "The url of a server begins with http:// or https:// and names a host, as in http://HOST/v1."
            )
        if parts.username or parts.password or parts.query:
            raise BadOption("The url contains a password or a query, which errors would show. Use key=… instead.")

    def log_probs(self, prompt: str, continuation: str) -> Numbers:
        """See `Provider`; one request.

        Raises:
            BadInput: If the continuation is empty, or a token lies across its beginning.
            ServerRefused: If the server cannot be reached, refuses, or returns no log-probabilities of the prompt.
        """
        if not continuation:
            raise BadInput("The continuation is empty, so there is nothing whose probability could be asked for.")
        asked = {"model": self.model, "prompt": prompt + continuation, "max_tokens": 1, "temperature": 0}
        said = self._post("completions", {**asked, "echo": True, "logprobs": 1})
        return _of_continuation(*self._tokens(said), prompt, continuation)

    def _tokens(self, said: Any) -> tuple[list[int], list[Any]]:
        """Where each token begins, and its log-probability."""
        try:
            found = said["choices"][0]["logprobs"]
            starts, numbers = [int(start) for start in found["text_offset"]], list(found["token_logprobs"])
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServerRefused(
                f"{self.url} answered without log-probabilities of the prompt (choices[0].logprobs with "
                "token_logprobs and text_offset), so nothing can be said about a given answer. Use a server that "
                "supports echo together with logprobs, such as vLLM, or load the model."
            ) from None
        return starts, numbers

    def _post(self, path: str, content: Mapping[str, Any]) -> Any:
        key = os.environ.get(KEY) if self.key is None else self.key
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = Request(f"{self.url.rstrip('/')}/{path}", json.dumps(content).encode(), headers, method="POST")
        try:
            with _opener().open(request, timeout=self.timeout) as answer:
                return json.load(answer)
        except HTTPError as refusal:
            told = refusal.read(500).decode("utf-8", "replace").strip()
            raise ServerRefused(_hidden(f"{self.url} answered {refusal.code} {refusal.reason}: {told}", key)) from None
        except (OSError, HTTPException) as problem:
            raise ServerRefused(_hidden(f"{self.url} cannot be reached ({problem}). Is the server up?", key)) from None
        except ValueError:
            raise ServerRefused(f"{self.url} did not answer with JSON. Is it the url of an API?") from None


def ablations_by(
    provider: Provider,
    prompt: Callable[[NDArray[np.bool_]], str],
    answer: str,
    sources: int,
    *,
    progress: Progress | None = None,
) -> Remembered:
    """A function that says what a provider makes of an answer with the text of sources deleted; every mask once.

    Args:
        provider: A model or a server.
        prompt: Which sources are kept (source,) → the prompt without the others.
        answer: What follows the prompt.
        sources: How many there are.
        progress: Called with the share of the masks of one call that is done.

    Returns:
        An `Ask`, for `contextmix.models.source_scores.score_sources`.

    Raises:
        UnsupportedModel: When it is asked, if the answer is cut into other numbers of tokens behind other prompts.

    Example:
        >>> import contextmix
        >>> stories = ModelProvider(contextmix.load("demo-decoder"))
        >>> texts = ["Tom had a ball.", "Lily had a dog."]
        >>> def prompt(kept):
        ...     return " ".join([text for text, here in zip(texts, kept) if here] + ["She loved her"])
        >>> ask = ablations_by(stories, prompt, " dog", sources=2)
        >>> ask(np.array([[True, True], [True, False]])).round(1)
        array([[-1.1, -0. ],
               [-3.3, -0.5]])
    """

    def ask(masks: NDArray[np.bool_]) -> Numbers:
        found: list[Numbers] = []
        for row in masks:
            found.append(provider.log_probs(prompt(row), answer))
            if progress is not None:
                progress(len(found) / len(masks), f"ablation {len(found)} of {len(masks)}")
        if len({len(one) for one in found}) > 1:
            raise UnsupportedModel(
                f"The answer is cut into {sorted({len(one) for one in found})} tokens behind prompts with other "
                "sources, so its tokens cannot be compared. End the prompt with something that always stays."
            )
        return np.stack(found)

    return Remembered(ask, sources)


def _of_continuation(starts: Sequence[int], numbers: Sequence[Any], prompt: str, continuation: str) -> Numbers:
    """The numbers of the tokens that begin in the continuation; what was generated behind it is left out."""
    first, end = len(prompt), len(prompt) + len(continuation)
    own = [number for start, number in zip(starts, numbers, strict=True) if first <= start < end]
    if first not in starts:
        raise BadInput(_MERGED.format(text=continuation))
    if not all(isinstance(number, int | float) and np.isfinite(number) for number in own):
        raise ServerRefused(
            "The server returned no log-probability for a token of the continuation (null), so that of the whole is "
            "unknown. Begin with a prompt of at least one token, and use a server that scores the prompt."
        )
    return np.minimum(np.array(own, dtype=np.float64), 0.0)


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would send the key and the prompt to another address."""

    def redirect_request(self, *told: Any) -> None:
        return None


def _opener() -> OpenerDirector:
    return build_opener(_NoRedirects)


def _hidden(text: str, key: str | None) -> str:
    return text.replace(key, "[key]") if key else text


_MERGED = (
    "The continuation {text!r} does not begin where a token does: it is empty, or its beginning and the end of the "
    "prompt are one token. Begin it with a space, or end the prompt elsewhere."
)
