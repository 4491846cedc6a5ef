# The image of the service: what it needs to run, and nothing to build, test or keep data with.
# It takes a PostgreSQL of your own (DATABASE_URL), and keeps no file.

FROM python:3.13.16-slim-bookworm AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# requirements-otel.txt also has OpenTelemetry, for traces: docker build --build-arg REQUIREMENTS=requirements-otel.txt
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt /build/
COPY requirements-otel.txt /build/
# The base image's pip installs into the virtual environment, so that the environment has no pip. The list is complete,
# and only wheels are used, because the image has no compiler.
# Sanic asks for setuptools and never imports it. Some libraries bring their own tests along, and Swagger UI an editor of
# 23 MB: of its files the documentation's page needs three.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --quiet --require-hashes --no-deps --only-binary :all: --no-compile \
        --requirement "/build/$REQUIREMENTS" \
    && python -m pip --python /venv/bin/python uninstall --quiet --yes setuptools \
    && find /venv/lib -depth -type d '(' -name test -o -name tests ')' -exec rm -r '{}' ';' \
    && find /venv/lib -path '*/swagger_ui/static/*' -type f ! -name swagger-ui-bundle.js ! -name swagger-ui.css \
        ! -name favicon-32x32.png ! -name LICENSE -delete \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib
COPY service /app/service
COPY sql /app/sql
COPY migrations /app/migrations
COPY LICENSE /app/
# Byte code is compiled here because the container is read-only. chmod, because the files of a checkout may be readable by
# its owner alone, and the image's user is another one.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app/service \
    && chmod -R a+rX /app

FROM python:3.13.16-slim-bookworm
LABEL org.opencontainers.image.title="todo-service" \
      org.opencontainers.image.description="A todo backend whose SQL is a reviewed artefact." \
      org.opencontainers.image.licenses="MIT"
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip setuptools wheel
COPY --from=builder /venv /venv
COPY --from=builder /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0
# A number, so that Kubernetes can verify that the user is not root.
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
# Liveness only: /health fails while the database is away, which would restart every copy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import http.client, os; c = http.client.HTTPConnection(os.environ.get('HOST') or '127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
# `docker run IMAGE` serves, `docker run IMAGE migrate` migrates.
ENTRYPOINT ["python", "-m", "service"]
