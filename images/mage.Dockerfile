# Mage: the UI, the scheduler, the notebooks. No dbt, no driver that knows the warehouse's writer.
#
#     docker build -f images/mage.Dockerfile -t mage-dbt-mage .
#
# Everything Python comes from requirements.lock, by hash, and is patched as scripts/start does it.
# PYTHON_IMAGE is pinned by version; pin it by digest where you build.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY custom_blocks /opt/mage-dbt/custom_blocks
COPY requirements.txt requirements.lock /opt/mage-dbt/
# The root of the images is read-only, so Python's compiled files have to be there already.
RUN PYTHONPATH=/opt/mage-dbt/custom_blocks/src UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy \
    python3 -m mage_dbt.container.install mage \
    && python3 -m compileall -q /opt/mage-dbt/custom_blocks/src

# checkov:skip=CKV_DOCKER_7: the argument above has the version
FROM ${PYTHON_IMAGE}
# tini ends Mage's scheduler and kernels with it. No git and no compiler: notebooks find little to
# work with. Debian removes a version when a fix replaces it, so it is not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10000 workspace \
    && useradd --uid 10001 --gid 10000 --no-create-home --home-dir /workspace/mage \
        --shell /usr/sbin/nologin mage \
    && install -d -o mage -g workspace -m 0750 /workspace /workspace/mage \
    && install -d -o mage -g workspace -m 2770 /workspace/mage/dbt-metric /workspace/doors/mage
COPY --from=build /opt/mage-dbt /opt/mage-dbt
COPY mage_project /opt/mage-dbt/mage_project
ENV PATH=/opt/mage-dbt/.workspace/env/mage/bin:/usr/local/bin:/usr/bin:/bin \
    USER=mage \
    TOOL_COMMAND=mage-dbt \
    WORKSPACE_HOME=/workspace \
    GIT_PYTHON_REFRESH=quiet
USER 10001:10000
# As this user, in this environment: what cannot be read fails here, not where it runs.
RUN ["python", "-P", "-c", "import mage_dbt.container.mage"]
WORKDIR /workspace/mage
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s \
    CMD ["python", "-P", "-m", "mage_dbt.container.probe", "mage"]
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
CMD ["python", "-P", "-m", "mage_dbt.container.mage"]
