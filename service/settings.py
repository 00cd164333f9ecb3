"""Every setting of a replica, declared once: unit, default, bounds and a sentence each.

The environment variable of a setting is its name in capitals after ``CAPSTAN_``. docs/settings.md is made
from this file. Only the entry point (`service.app`) builds `Settings`; all else gets them as arguments.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

EMBEDDED_MODEL = Path(__file__).parent / "models" / "embedded"

DEFAULT_PROMPT = (
    "Please give a detailed caption for the given image that covers all the objects in foreground and "
    "background. Please do not start with 'The image'."
)

MEBIBYTE = 2**20

Listed = Annotated[tuple[str, ...], NoDecode]
ListedPaths = Annotated[tuple[Path, ...], NoDecode]
ListedNetworks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]
HOST = r"^(\*\.)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?$"
ListedHosts = Annotated[tuple[Annotated[str, StringConstraints(pattern=HOST)], ...], NoDecode]


class GenerationDefaults(BaseModel):
    """What a request gets where it does not say otherwise.

    Serve's `user_config` changes these on a live replica, without a restart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(DEFAULT_PROMPT, min_length=1, max_length=10_000)
    max_tokens: int = Field(1024, ge=1, le=1_000_000)
    temperature: float = Field(0.0, ge=0.0, le=2.0)


class Settings(BaseSettings):
    """The settings of one replica."""

    model_config = SettingsConfigDict(
        env_prefix="CAPSTAN_",
        extra="forbid",
        frozen=True,
        # `model_revision` is a setting of ours, not an attribute of pydantic's.
        protected_namespaces=(),
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
        None, description="The name that clients see and send as `model`. Without it: the value of `model`."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of weights and activations. `auto`: bfloat16 on GPU, float32 on CPU.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="`auto`: the GPUs that Ray gave the replica, else the CPU. `cuda` fails without a GPU.",
    )
    gpus_per_replica: int = Field(
        1,
        ge=1,
        le=64,
        description=(
            "GPUs that share one model, for models too large for one. It must divide the model's attention "
            "heads and key-value heads, and `num_gpus` of `ray_actor_options` must be as much."
        ),
    )
    max_tiles: int | None = Field(
        None,
        ge=1,
        le=128,
        description="Tiles an image is cut into at most. Without it: the checkpoint's own (12).",
    )
    torch_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads of one torch operation. Without it: the replica's `num_cpus`.",
    )
    preparation_threads: int = Field(
        2, ge=1, le=256, description="Threads that have images decoded and cut, and tokenise prompts."
    )
    decode_processes: int | None = Field(
        None,
        ge=0,
        le=256,
        description=(
            "Processes that decode images and cut them into tiles, so that no file can harm the replica. "
            "Without it: as many as preparation threads; more are of no use. 0, or a system other than "
            "Linux: the threads do it."
        ),
    )
    decode_timeout: float = Field(
        10.0,
        gt=0.0,
        le=3600.0,
        description=(
            "Seconds of a processor after which a decoding process is ended and its image refused; by the "
            "clock, three times as many."
        ),
    )

    max_concurrent_sequences: int = Field(
        64, ge=1, le=4096, description="Requests decoded together. More wait in the queue."
    )
    max_waiting: int = Field(
        512,
        ge=0,
        le=100_000,
        description="Requests that may wait in the replica's queue; the next gets a 503.",
    )
    memory_fraction: float = Field(
        0.9,
        gt=0.0,
        lt=1.0,
        description="Share of the GPU's memory that weights and key-value cache may fill.",
    )
    cache_bytes: ByteSize = Field(
        ByteSize(512 * MEBIBYTE), ge=MEBIBYTE, description="Key-value cache on CPU, such as `512MiB`."
    )
    feature_cache_bytes: ByteSize = Field(
        ByteSize(64 * MEBIBYTE),
        ge=0,
        description=(
            "Cache of image features; a repeated image is not computed again. Taken as a whole at the start. "
            "A tile of InternVL2-8B takes 2 MiB in bfloat16."
        ),
    )
    prefill_chunk_tokens: int = Field(
        512,
        ge=16,
        le=65_536,
        description=(
            "Tokens of one prompt that a step reads while answers are being written. Fewer: running streams "
            "stall less. More: the first token of a long prompt comes sooner."
        ),
    )
    cuda_graphs: bool = Field(
        True, description="Record decode steps as CUDA graphs on a GPU; `false` where recording fails."
    )
    request_timeout: float = Field(
        300.0,
        gt=0.0,
        le=86_400.0,
        description="Seconds after which an unfinished request is given up with a 504.",
    )

    default_prompt: str = Field(
        DEFAULT_PROMPT,
        min_length=1,
        max_length=10_000,
        description="Prompt of a /caption request without one.",
    )
    default_max_tokens: int = Field(
        1024, ge=1, le=1_000_000, description="Tokens of an answer at most, where the request does not say."
    )
    default_temperature: float = Field(
        0.0, ge=0.0, le=2.0, description="Sampling temperature where the request does not say; 0 is greedy."
    )

    image_roots: ListedPaths = Field(
        (), description="Directories, separated by `:`, open to `image_path`. None: `image_path` is off."
    )
    image_url_enabled: bool = Field(True, description="Whether images are fetched from `image_url`.")
    image_url_http: bool = Field(False, description="Fetch from `http://` as well as from `https://`.")
    image_url_hosts: ListedHosts = Field(
        (),
        description=(
            "The only hosts open to `image_url`, separated by commas: `host`, `*.host`, `host:port`. "
            "None: every host of the Internet, on port 443 (80 for `http://`)."
        ),
    )
    image_url_networks: ListedNetworks = Field(
        (),
        description=(
            "Networks open to `image_url` besides the public Internet, separated by commas, such as "
            "`10.20.0.0/16`. None: every private or special address is refused."
        ),
    )
    image_url_timeout: float = Field(
        10.0,
        gt=0.0,
        le=3600.0,
        description="Seconds for one fetch from `image_url`, waiting and redirects included.",
    )
    image_url_concurrency: int = Field(
        16, ge=1, le=1024, description="Images fetched at once; more wait, within their time."
    )
    max_images: int = Field(16, ge=1, le=1000, description="Images of one request.")
    max_image_bytes: ByteSize = Field(
        ByteSize(20 * MEBIBYTE), ge=1, description="Size of an image file, such as `20MiB`."
    )
    max_pixels: int = Field(40_000_000, ge=1, le=1_000_000_000, description="Pixels of an image.")
    max_image_side: int = Field(20_000, ge=1, le=100_000, description="Longest side of an image, in pixels.")
    max_request_bytes: ByteSize = Field(
        ByteSize(64 * MEBIBYTE),
        ge=1,
        description="Size of a request body; base64 makes an image a third larger.",
    )
    body_timeout: float = Field(
        60.0, gt=0.0, le=86_400.0, description="Seconds within which a request body must have come; else 408."
    )
    max_prompt_characters: int = Field(
        100_000, ge=1, le=10_000_000, description="Length of a prompt, in characters, before it is tokenised."
    )
    keys_file: Path | None = Field(
        None,
        description="The API keys and their limits (docs/access.md). Without it no key is asked for.",
    )
    limits_shared_by: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description=(
            "Replicas that a key's limits are divided among; 1 grants the whole limit on each. Without it: "
            "those that Serve has running."
        ),
    )
    cors_origins: Listed = Field(
        (),
        description="Origins, separated by commas, whose pages may call this API from a browser; `*` is any.",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severity that is logged. No level logs a prompt, an image or a caption."
    )

    @field_validator("image_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return _split(value, ":")

    @field_validator("cors_origins", "image_url_hosts", "image_url_networks", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return _split(value, ",")

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
        """What a request gets where it does not say otherwise, until `user_config` says more."""
        return GenerationDefaults(
            prompt=self.default_prompt,
            max_tokens=self.default_max_tokens,
            temperature=self.default_temperature,
        )


def _split(value: object, separator: str) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value
