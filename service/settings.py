"""Every setting of a replica, declared once: unit, default, bounds and a sentence.

The environment variable of a setting is ``CAPSTAN_`` and its name in capitals. docs/settings.md is generated
from this file. Only the entry point (`service.app`) reads the environment.
"""

from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.generation_defaults import DEFAULT_PROMPT, GenerationDefaults
from service.passed_parameters import parameters

EMBEDDED_MODEL = Path(__file__).parent / "models" / "embedded"
MEBIBYTE = 2**20

# One request waits for its image while another is tokenized.
LEAST_PREPARATION_THREADS = 2
HOST = r"^(\*\.)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?$"


def _split(separator: str, value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value


AT_COMMAS, AT_COLONS = (BeforeValidator(partial(_split, separator)) for separator in ",:")
Names = Annotated[tuple[str, ...], NoDecode, AT_COMMAS]
Origins = Annotated[tuple[str, ...], NoDecode, AT_COMMAS]
Paths = Annotated[tuple[Path, ...], NoDecode, AT_COLONS]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, AT_COMMAS]
Hosts = Annotated[tuple[Annotated[str, StringConstraints(pattern=HOST)], ...], NoDecode, AT_COMMAS]


class Settings(BaseSettings):
    """The settings of one replica."""

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
    served_model_name: str | None = Field(
        None, description="The name that clients see and send as `model`. Default: the value of `model`."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of weights and activations. `auto`: bfloat16 on a GPU, float32 on a CPU.",
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
    request_timeout: float = Field(
        300.0, gt=0.0, le=86_400.0, description="Seconds after which an unfinished request ends with a 504."
    )

    default_prompt: str = Field(
        DEFAULT_PROMPT,
        min_length=1,
        max_length=10_000,
        description="Prompt of a /caption request that has none.",
    )
    default_max_tokens: int = Field(
        1024, ge=1, le=1_000_000, description="Most tokens of an answer if the request sets no limit."
    )
    default_temperature: float = Field(
        0.0, ge=0.0, le=2.0, description="Sampling temperature if the request sets none; 0 is greedy."
    )

    image_roots: Paths = Field(
        (),
        description="Directories open to `image_path`, separated by `:`. Without any, `image_path` is off.",
    )
    image_url_enabled: bool = Field(True, description="Whether `image_url` is allowed.")
    image_url_http: bool = Field(False, description="Fetch from `http://` as well as from `https://`.")
    image_url_hosts: Hosts = Field(
        (),
        description=(
            "The only hosts open to `image_url`, separated by commas: `host`, `*.host`, `host:port`. "
            "Without any: every public host, on port 443 (80 for `http://`)."
        ),
    )
    image_url_networks: Networks = Field(
        (),
        description=(
            "Networks open to `image_url` in addition to the public Internet, separated by commas, such as "
            "`10.20.0.0/16`. Without any, every private or special address is refused."
        ),
    )
    image_url_timeout: float = Field(
        10.0,
        gt=0.0,
        le=3600.0,
        description="Seconds for one fetch from `image_url`, including waiting and redirects.",
    )
    image_url_concurrency: int = Field(
        16,
        ge=1,
        le=1024,
        description="Images fetched at once; more wait, which counts towards their timeout.",
    )
    max_images: int = Field(16, ge=1, le=1000, description="Most images per request.")
    max_image_bytes: ByteSize = Field(
        ByteSize(20 * MEBIBYTE), ge=1, description="Largest image file, such as `20MiB`."
    )
    max_pixels: int = Field(40_000_000, ge=1, le=1_000_000_000, description="Most pixels of an image.")
    max_image_side: int = Field(20_000, ge=1, le=100_000, description="Longest side of an image, in pixels.")
    max_request_bytes: ByteSize = Field(
        ByteSize(64 * MEBIBYTE),
        ge=1,
        description="Largest request body. Base64 makes an image a third larger.",
    )
    max_total_request_bytes: ByteSize = Field(
        ByteSize(1024 * MEBIBYTE),
        ge=1,
        description="Bodies of all requests in progress together; the next gets a 503. One always fits.",
    )
    body_timeout: float = Field(
        60.0,
        gt=0.0,
        le=86_400.0,
        description="Seconds for a request body to arrive; then the request gets a 408.",
    )
    max_prompt_characters: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Most characters of a prompt, checked before it is tokenized.",
    )
    max_schema_bytes: int = Field(
        65_536,
        ge=1,
        le=10_000_000,
        description="Most bytes of a JSON schema, a regular expression or a list of choices.",
    )
    keys_file: Path | None = Field(
        None,
        description="File with the API keys and their limits (docs/access.md). Without it, no key is needed.",
    )
    limits_shared_by: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description=(
            "Number of replicas that share a key's limits; 1 grants the whole limit on each. Default: the "
            "replicas that Serve has running."
        ),
    )
    cors_origins: Origins = Field(
        (),
        description="Origins whose pages may call this API from a browser, separated by commas; `*` is any.",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest severity that is logged. No level logs a prompt, an image or a caption."
    )

    log_format: Literal["text", "json"] = Field(
        "text",
        description="Form of a log line; `json` adds the fields of a request (docs/serving.md).",
    )

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description=(
            "Collector that gets OpenTelemetry spans by OTLP/HTTP, such as `http://collector:4318` "
            "(docs/metrics.md). Without it, tracing is off."
        ),
    )
    usage_ledger: Path | None = Field(
        None,
        description="Directory of the usage ledger, a line a request (docs/metrics.md). Without it: none.",
    )
    usage_ledger_bytes: ByteSize = Field(
        ByteSize(100 * MEBIBYTE), ge=1024, description="Size at which the ledger goes on in a new file."
    )
    metrics_public: bool = Field(
        False,
        description=(
            "Answer `/metrics` to requests that an Ingress or a Gateway has forwarded, too (docs/metrics.md)."
        ),
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
        parameters(self.engine_pass)
        return self

    def for_resources(self, *, cpus: float, gpus: float) -> "Settings":
        """Fill in what follows from the CPUs and GPUs that Ray assigned to this replica."""
        changes: dict[str, object] = {}
        if self.preparation_threads is None:
            changes["preparation_threads"] = max(LEAST_PREPARATION_THREADS, int(cpus))
        if 0 < gpus < 1:
            changes["memory_fraction"] = self.memory_fraction * gpus
        return self.model_copy(update=changes)

    @property
    def preparation_thread_count(self) -> int:
        """Threads that prepare requests."""
        return self.preparation_threads or LEAST_PREPARATION_THREADS

    @property
    def checkpoint(self) -> str:
        """Directory or hub id of the checkpoint."""
        return str(EMBEDDED_MODEL) if self.model == "embedded" else self.model

    @property
    def public_name(self) -> str:
        """The model's name in answers."""
        return self.served_model_name or self.model

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """The generation defaults at startup."""
        return GenerationDefaults(
            prompt=self.default_prompt,
            max_tokens=self.default_max_tokens,
            temperature=self.default_temperature,
        )
