"""Every setting of a replica, declared once: unit, default, bounds and a sentence.

The environment variable of a setting is ``CAPSTAN_`` and its name in capitals. docs/settings.md is generated
from this file and `service.model_settings`. Only the entry point (`service.app`) reads the environment.
"""

from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, StringConstraints
from pydantic_settings import NoDecode

from service.generation_defaults import DEFAULT_PROMPT, GenerationDefaults
from service.model_settings import AT_COMMAS, MEBIBYTE, ModelSettings, split

EMBEDDED_MODEL = Path(__file__).parent / "models" / "embedded"

# One request waits for its image while another is tokenized.
LEAST_PREPARATION_THREADS = 2
# No setting allows more in one request.
MOST_FRAMES = 1000
HOST = r"^(\*\.)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?$"


AT_COLONS = BeforeValidator(partial(split, ":"))
Origins = Annotated[tuple[str, ...], NoDecode, AT_COMMAS]
Paths = Annotated[tuple[Path, ...], NoDecode, AT_COLONS]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, AT_COMMAS]
Hosts = Annotated[tuple[Annotated[str, StringConstraints(pattern=HOST)], ...], NoDecode, AT_COMMAS]


class Settings(ModelSettings):
    """The settings of one replica."""

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
    max_frames: int = Field(
        32, ge=1, le=MOST_FRAMES, description="Most frames of all videos of a request; each is one tile."
    )
    max_answers: int = Field(
        16,
        ge=1,
        le=4096,
        description="Most answers per request (`n`); each counts as a request in the queue.",
    )
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
