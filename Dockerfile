# A node of Rondo: one container, one node, no privileges. docker-compose.yml runs three of them.
#
# A tag may mean another image tomorrow. What is built for production names it by digest as well:
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim@sha256:... .
ARG PYTHON_IMAGE=python:3.12-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY rondo rondo
COPY services services
COPY config config
COPY examples examples
RUN python -m venv /opt/rondo && /opt/rondo/bin/pip install --no-cache-dir -c constraints.txt .

FROM ${PYTHON_IMAGE}
# State, run directory and key belong to the node's own user: a volume that is mounted there takes over the owner.
RUN useradd --system --uid 10001 --home-dir /var/lib/rondo --shell /usr/sbin/nologin rondo \
    && install -d -o rondo -g rondo -m 0700 /var/lib/rondo /var/lib/rondo-key /run/rondo
COPY --from=build /opt/rondo /opt/rondo
ENV PATH=/opt/rondo/bin:$PATH \
    RONDO_RUN_DIR=/run/rondo \
    RONDO_STATE_DIR=/var/lib/rondo
USER rondo
HEALTHCHECK --interval=5s --timeout=5s --retries=3 --start-period=40s CMD ["rondo", "status", "--check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rondo"]
CMD ["start", "--foreground"]
