"""The settings of a replica that are about its model and the engine that runs it."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.passed_parameters import parameters

MEBIBYTE = 2**20


def split(separator: str, value: object) -> object:
    """The parts of a setting that is a list in one line."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value


AT_COMMAS = BeforeValidator(partial(split, ","))
Names = Annotated[tuple[str, ...], NoDecode, AT_COMMAS]


class ModelSettings(BaseSettings):
    """See `service.settings.Settings`."""

    # `model_revision` is a setting, not an attribute of pydantic's: no namespace is protected.
    model_config = SettingsConfigDict(
        env_prefix="CAPSTAN_", extra="forbid", frozen=True, protected_namespaces=()
    )

    model: str = Field(
        "embedded",
        min_length=1,
        description="The checkpoint: a directory, a hub id such as `OpenGVLab/InternVL2-8B`, or `embedded`.",
    )
    model_revision: str | None = Field(
        None, description="The branch, tag or commit of a hub id. Pin a commit in production."
    )
    adapter: str | None = Field(
        None,
        min_length=1,
        description=(
            "A LoRA adapter of the PEFT library that is merged into the weights: a directory or a hub id. "
            "Only with our own engine."
        ),
    )
    adapter_revision: str | None = Field(
        None, description="The branch, tag or commit of the adapter's hub id. Pin a commit in production."
    )
    served_model_name: str | None = Field(
        None, description="The name that clients see and send as `model`. Default: the value of `model`."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of weights and activations. `auto`: bfloat16 on a GPU, float32 on a CPU.",
    )
    quantization: Literal["int8", "fp8"] | None = Field(
        None,
        description=(
            "Format of the linear layers, converted at load: `fp8` on a GPU of compute capability 8.9 or "
            "more, `int8` on a CPU (docs/models.md). Default: that of `CAPSTAN_DTYPE`."
        ),
    )
    engine: Literal["native", "command", "url"] = Field(
        "native",
        description=(
            "What generates: `native`, our own engine; `command`, a server that the replica starts; `url`, "
            "one that runs elsewhere (docs/engines.md)."
        ),
    )
    engine_command: str | None = Field(
        None,
        min_length=1,
        description=(
            "The server's command, such as `vllm serve {model} --host {host} --port {port}`. Placeholders: "
            "`{model}`, `{revision}`, `{name}`, `{gpus}`, and `{host}` and `{port}` or `{socket}`."
        ),
    )
    engine_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="The address of a server that runs elsewhere, such as `http://vllm.models:8000`.",
    )
    engine_key_file: Path | None = Field(
        None, description="File with the API key of the server at `CAPSTAN_ENGINE_URL`."
    )
    engine_model: str | None = Field(
        None,
        min_length=1,
        description="The model's name at the other server. Default: the only one it lists.",
    )
    engine_pass: Names = Field(
        (),
        description=(
            "Parameters of a chat request that the other server gets as they are, separated by commas; "
            "`vllm` and `sglang` stand for what these servers have."
        ),
    )
    engine_start_timeout: float = Field(
        1800.0, gt=0.0, le=86_400.0, description="Seconds for the other server to become healthy."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="`auto`: the GPUs that Ray assigned, else the CPU. `cuda` fails without a GPU."
    )
    gpus_per_replica: int = Field(
        1,
        ge=1,
        le=64,
        description=(
            "Number of GPUs that one model is split across, for models too large for one GPU. It must divide "
            "the model's attention heads and key-value heads; set `num_gpus` of `ray_actor_options` to it."
        ),
    )
    max_tiles: int | None = Field(
        None, ge=1, le=128, description="Most tiles per image. Default: the checkpoint's own limit, 12."
    )
    torch_threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads per torch operation. Default: the replica's `num_cpus`."
    )
    preparation_threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description=(
            "Threads that hand out images for decoding and tokenize prompts. Default: the replica's "
            "`num_cpus`, at least 2; plan for four per GPU."
        ),
    )
    decode_processes: int | None = Field(
        None,
        ge=0,
        le=256,
        description=(
            "Sandboxed processes that decode images and cut them into tiles. Default: one per preparation "
            "thread; more do not help. With 0, or on a system other than Linux, the threads decode."
        ),
    )
    decode_timeout: float = Field(
        10.0,
        gt=0.0,
        le=3600.0,
        description="CPU seconds to decode one image; three times that in wall-clock time.",
    )

    max_concurrent_sequences: int = Field(
        64, ge=1, le=4096, description="Requests that generate text together; more wait in the queue."
    )
    max_waiting: int = Field(
        512, ge=0, le=100_000, description="Length of the replica's queue; the next request gets a 503."
    )
    max_queue_seconds: float = Field(
        5.0,
        gt=0.0,
        le=86_400.0,
        description=(
            "Seconds of work that the replica's queue may hold, by the measured speed of the model; the next "
            "request gets a 503. `CAPSTAN_MAX_WAITING` applies too."
        ),
    )
    memory_fraction: float = Field(
        0.9,
        gt=0.0,
        lt=1.0,
        description=(
            "Fraction of its share of the GPU that a replica takes: weights, the largest step, key-value "
            "cache. With `num_gpus: 0.5` the share is half of the card."
        ),
    )
    cache_bytes: ByteSize = Field(
        ByteSize(512 * MEBIBYTE),
        ge=MEBIBYTE,
        description="Size of the key-value cache on a CPU, such as `512MiB`.",
    )
    feature_cache_images: int = Field(
        64,
        ge=0,
        le=100_000,
        description=(
            "Images of the most tiles whose features are cached, which saves computing a repeated image. "
            "Allocated at startup. An image of 13 tiles takes 26 MiB with InternVL2-8B in bfloat16."
        ),
    )
    prefill_chunk_tokens: int = Field(
        512,
        ge=16,
        le=65_536,
        description=(
            "Prompt tokens that one step reads while other requests generate. Fewer: running streams stall "
            "less. More: a long prompt gets its first token sooner."
        ),
    )
    runner: Literal["auto", "transformers", "generate"] = Field(
        "auto",
        description=(
            "How the model runs: `auto` fuses the layers of InternVL and takes `transformers` for others, "
            "which batches continuously through the model's own forward. `generate` runs static batches, for "
            "models that cannot be batched continuously."
        ),
    )
    cuda_graphs: bool = Field(
        True, description="Record decode steps as CUDA graphs on a GPU. Set `false` if recording fails."
    )
    prompt_lookup: int = Field(
        0,
        ge=0,
        le=16,
        description=(
            "Tokens that a step guesses ahead for each answer, from what followed the same tokens before in "
            "its prompt or in itself: the same answers, sooner where text repeats (docs/performance.md). "
            "Only for requests of temperature 0 that neither change nor report probabilities. 0: no guesses."
        ),
    )
    request_timeout: float = Field(
        300.0, gt=0.0, le=86_400.0, description="Seconds after which an unfinished request ends with a 504."
    )

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        needed = {"command": "engine_command", "url": "engine_url"}
        for name in ("engine_command", "engine_url", "engine_key_file", "engine_model", "engine_pass"):
            given = bool(getattr(self, name))
            if name == needed.get(self.engine) and not given:
                raise ValueError(f"{name} is not set; engine {self.engine} needs it")
            foreign = self.engine == "native" or (name in needed.values() and name != needed[self.engine])
            if given and foreign:
                raise ValueError(
                    f"{name} is set, but engine is {self.engine}; remove {name} or change engine"
                )
        for name in ("adapter", "quantization", "prompt_lookup"):
            if getattr(self, name) and self.engine != "native":
                raise ValueError(
                    f"{name} is set, but engine is {self.engine}; say so in that server's command instead"
                )
        if self.prompt_lookup and self.runner == "generate":
            raise ValueError("prompt_lookup is set, but runner is generate; set runner to auto, or remove it")
        if self.adapter_revision and not self.adapter:
            raise ValueError("adapter_revision is set, but adapter is not; set adapter, or remove it")
        parameters(self.engine_pass)
        return self
