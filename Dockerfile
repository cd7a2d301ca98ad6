# The exporter with what is locked in deploy/requirements.txt, as an unprivileged user.
#
#   docker build --tag model-sidecar:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag model-sidecar:0.1.0 .
#
# Every package is a wheel for both platforms, so that nothing is compiled. Another base, such as one by its digest:
# --build-arg PYTHON=python:3.13.16-slim-trixie@sha256:…
ARG PYTHON=python:3.13.16-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ONLY_BINARY=:all:
COPY deploy/requirements-build.txt deploy/requirements.txt deploy/
RUN python -m venv /tools \
    && /tools/bin/pip install --require-hashes --requirement deploy/requirements-build.txt \
    && python -m venv --without-pip /opt/model-sidecar \
    && /tools/bin/pip --python /opt/model-sidecar/bin/python \
        install --require-hashes --requirement deploy/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/model-sidecar/bin/python install --no-deps --no-index /wheels/*.whl \
    && sed "s/^dynamic = .*/version = \"$(/tools/bin/hatchling version)\"/" pyproject.toml >named.toml \
    && /tools/bin/cyclonedx-py environment --pyproject named.toml --mc-type application --output-reproducible \
        --output-format JSON --output-file /opt/model-sidecar/sbom.cdx.json /opt/model-sidecar/bin/python
# Byte code is compiled here, since nothing can be written later: without it every start takes three times as much CPU
# and 9 MB more memory. The official image comes without any for its own library too, so that is compiled below.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/model-sidecar/lib

FROM ${PYTHON}
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x '/(ensurepip|idlelib|(dist|site)-packages|test|tkinter|turtledemo)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/model-sidecar /opt/model-sidecar
ENV PATH=/opt/model-sidecar/bin:$PATH
USER 65532:65532
EXPOSE 10068
# It knows where the exporter listens from the same variables and flags, and needs no password where one is wanted.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["model-sidecar", "healthcheck"]
ENTRYPOINT ["model-sidecar"]
ARG REVISION=
LABEL org.opencontainers.image.title="model-sidecar" \
    org.opencontainers.image.description="Prometheus exporter that stands beside a model server" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/model-sidecar/model-sidecar" \
    org.opencontainers.image.documentation="https://github.com/model-sidecar/model-sidecar/blob/main/deploy/README.md"
