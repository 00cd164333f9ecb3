"""How the answer to a chat request is sampled."""

from dataclasses import replace

from service.api.bodies.structured import grammar_of
from service.api.bodies.tools import calls_grammar
from service.api.schemas.chat import ChatRequest
from service.generation_defaults import GenerationDefaults
from service.protocol.request import Sampling
from service.settings import Settings


def sampling_of(
    fields: ChatRequest, max_tokens: int | None, defaults: GenerationDefaults, settings: Settings
) -> Sampling:
    """What the fields ask for, and the server's defaults for the rest.

    Raises RequestError for a format that is too large, that is not JSON, or that is given twice.
    """
    return Sampling(
        max_tokens=defaults.max_tokens if max_tokens is None else max_tokens,
        temperature=defaults.temperature if fields.temperature is None else fields.temperature,
        top_p=1.0 if fields.top_p is None else fields.top_p,
        top_k=fields.top_k or 0,
        seed=fields.seed,
        stop=(fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop or ()),
        repetition_penalty=1.0 if fields.repetition_penalty is None else fields.repetition_penalty,
        presence_penalty=fields.presence_penalty or 0.0,
        frequency_penalty=fields.frequency_penalty or 0.0,
        logit_bias=tuple((int(token), bias) for token, bias in (fields.logit_bias or {}).items()),
        min_p=fields.min_p or 0.0,
        min_tokens=fields.min_tokens or 0,
        ignore_eos=bool(fields.ignore_eos),
        top_logprobs=(fields.top_logprobs or 0) if fields.logprobs else None,
        grammar=calls_grammar(fields)
        or grammar_of(fields.response_format, fields.structured_outputs, settings),
    )


def seeded(sampling: Sampling, index: int) -> Sampling:
    """For the `index`th answer: the seed that is so much higher, if there is one that matters."""
    if sampling.seed is None or sampling.temperature == 0:
        return sampling
    return replace(sampling, seed=(sampling.seed + index + 2**63) % 2**64 - 2**63)
