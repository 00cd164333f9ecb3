"""The request of POST /v1/chat/completions, as far as this server supports OpenAI's API.

Source: OpenAI's API reference, "Create chat completion". Its other parameters are refused by name, never
ignored; see `service.api.bodies.unsupported`.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.content import STRICT
from service.api.schemas.images import EXAMPLE_IMAGE
from service.api.schemas.messages import ChatMessage
from service.api.schemas.structured import ResponseFormat, StructuredOutputs
from service.api.schemas.tools import MOST_TOOLS, Tool, ToolChoice


class TemplateOptions(BaseModel):
    """Variables of the model's chat template."""

    model_config = STRICT

    enable_thinking: Annotated[bool | None, Field(description="Whether the model reasons first.")] = None


class StreamOptions(BaseModel):
    """How to stream."""

    model_config = STRICT

    include_usage: Annotated[bool, Field(description="End with a chunk that has `usage` and no choices.")] = (
        False
    )


class ChatRequest(BaseModel):
    """A conversation to continue.

    `top_k`, `min_p`, `repetition_penalty`, `min_tokens` and `ignore_eos` are extensions, named as in vLLM.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "model": "embedded",
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE}},
                                {"type": "text", "text": "What is in the picture?"},
                            ],
                        }
                    ],
                    "max_completion_tokens": 64,
                }
            ]
        },
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: Annotated[str | None, Field(description="A name of GET /v1/models. Default: the only one.")] = None
    max_completion_tokens: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="Most tokens of the answer. Default: the server's."),
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1, le=1_000_000, description="The older name of max_completion_tokens; send only one of them."
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=2.0,
            description="0 always picks the most likely token. Default: the server's, 0 unless configured.",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=1.0,
            description="Sample from the most likely tokens whose probabilities add up to this.",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        Field(ge=0, le=1_000_000, description="Sample from this many of the most likely tokens; 0 is all."),
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=-(2**63), lt=2**63, description="The same seed gives the same text, whatever the load."),
    ] = None
    stop: Annotated[
        Annotated[str, Field(min_length=1, max_length=256)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=16, title="Stops")
        ]
        | None,
        Field(description="The answer ends before any of these strings."),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        Field(gt=0.0, le=10.0, description="Above 1, tokens that already occur become less likely."),
    ] = None
    presence_penalty: Annotated[
        float | None,
        Field(ge=-2.0, le=2.0, description="Above 0, tokens of the answer so far become less likely."),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        Field(ge=-2.0, le=2.0, description="The same, for each time that a token is in the answer."),
    ] = None
    logit_bias: Annotated[
        dict[Annotated[str, Field(pattern=r"^[0-9]{1,7}$")], Annotated[float, Field(ge=-100.0, le=100.0)]]
        | None,
        Field(max_length=1024, description="What to add to the logits of tokens, by token id."),
    ] = None
    min_p: Annotated[
        float | None,
        Field(ge=0.0, le=1.0, description="Sample from tokens that have this share of the top one's chance."),
    ] = None
    min_tokens: Annotated[
        int | None,
        Field(ge=0, le=1_000_000, description="No stop token or stop string ends the answer before this."),
    ] = None
    ignore_eos: Annotated[
        bool | None, Field(description="Write max_tokens tokens, whatever the model says. For benchmarks.")
    ] = None
    logprobs: Annotated[bool | None, Field(description="Say how likely each token of the answer was.")] = None
    top_logprobs: Annotated[
        int | None,
        Field(ge=0, le=20, description="Report this many of the likeliest tokens, too; needs `logprobs`."),
    ] = None
    response_format: Annotated[
        ResponseFormat | None, Field(description="Answer in JSON, which may have to match a schema.")
    ] = None
    structured_outputs: Annotated[
        StructuredOutputs | None, Field(description="vLLM's extension: what the answer must match.")
    ] = None
    tools: Annotated[
        list[Tool] | None,
        Field(
            max_length=MOST_TOOLS,
            description="What the model may call, if its chat template has tools; otherwise refused.",
        ),
    ] = None
    tool_choice: Annotated[
        ToolChoice | None,
        Field(description="Whether a tool is called; `required` or a tool makes sure that one is."),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None, Field(description="False: the answer is over after its first tool call.")
    ] = None
    chat_template_kwargs: Annotated[
        TemplateOptions | None,
        Field(description="vLLM's extension, if the model's chat template has the variable."),
    ] = None
    n: Annotated[
        int | None,
        Field(ge=1, le=4096, description="How many answers. The `i`th, from 0, is sampled with `seed` + i."),
    ] = 1
    stream: Annotated[bool | None, Field(description="Send the answer as server-sent events.")] = False
    stream_options: StreamOptions | None = None
