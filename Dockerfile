# The server alone: no TensorFlow, no compiler, no root. Mount models at /models:
#
#     docker run --rm -p 127.0.0.1:50051:50051 -v $PWD/models:/models:ro bascule
#
# deploy/container.toml says where it listens and why.

FROM python:3.12-slim AS build
WORKDIR /source
RUN python -m venv /bascule
COPY requirements-server.txt .
RUN /bascule/bin/pip install --no-cache-dir --require-hashes --requirement requirements-server.txt
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY server server
COPY training training
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /bascule/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
    && /bascule/bin/pip uninstall --yes pip

FROM python:3.12-slim
ENV PATH=/bascule/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRPC_ENABLE_FORK_SUPPORT=false \
    OMP_NUM_THREADS=1 \
    MALLOC_ARENA_MAX=2
COPY --from=build /bascule /bascule
COPY deploy/container.toml /etc/bascule/server.toml
RUN useradd --system --uid 65532 --no-create-home bascule
USER 65532
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["bascule", "health"]
ENTRYPOINT ["bascule", "serve", "--models", "/models"]
CMD ["--config", "/etc/bascule/server.toml"]
