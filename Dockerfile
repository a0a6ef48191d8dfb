# A node of Rondo: one container, one node, no privileges. docker-compose.yml runs three of them.
#
# What is installed are the wheels of `make wheels`: pip takes the one with machine code for the Python of the image, if
# there is one, else the pure one. The libraries are those of constraints.txt, by their hashes
# (build/image.txt), those of the page among them.
#
# A tag may mean another image tomorrow. What is built for production names it by digest as well:
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim@sha256:... .
ARG PYTHON_IMAGE=python:3.12-slim
FROM ${PYTHON_IMAGE} AS build
COPY build/image.txt build/dist/*.whl /made/
RUN python3 -m venv /opt/rondo \
    && /opt/rondo/bin/pip install --no-cache-dir --require-hashes --no-deps -r /made/image.txt \
    && /opt/rondo/bin/pip install --no-cache-dir --no-deps --no-index --find-links /made rondo

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
