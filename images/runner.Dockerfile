# The runner: dbt, plans, runs, the ledger. Also what prepares the databases, and backups.
#
#     docker build -f images/runner.Dockerfile -t mage-dbt-runner .
#     docker build -f images/runner.Dockerfile --build-arg DBT_CORE_VERSION=1.10.22 .
#
# Everything Python comes from dbt/requirements.lock, by hash. PYTHON_IMAGE is pinned by version; pin
# it by digest where you build.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Empty: what dbt/requirements.lock pins. DBT_ADAPTER is a whole line, as dbt-snowflake==1.11.0.
ARG DBT_CORE_VERSION=
ARG DBT_ADAPTER=
COPY custom_blocks /opt/mage-dbt/custom_blocks
COPY dbt/requirements.txt dbt/requirements.lock /opt/mage-dbt/dbt/
# The root of the images is read-only, so Python's compiled files have to be there already.
RUN PYTHONPATH=/opt/mage-dbt/custom_blocks/src UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy \
    python3 -m mage_dbt.container.install dbt \
    && python3 -m compileall -q /opt/mage-dbt/custom_blocks/src

# checkov:skip=CKV_DOCKER_7: the argument above has the version
FROM ${PYTHON_IMAGE}
# git brings commits and packages, ssh is how it may have to; tini passes signals on and reaps.
# Debian removes a version when a fix replaces it, so these three are not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10000 workspace \
    && useradd --uid 10002 --gid 10000 --no-create-home --home-dir /workspace \
        --shell /usr/sbin/nologin runner \
    && install -d -o runner -g workspace -m 0750 /workspace \
    && install -d -o runner -g workspace -m 2770 /workspace/doors /workspace/doors/mage \
        /workspace/doors/people /workspace/doors/machines /workspace/mage/dbt-metric \
        /workspace/backups /workspace/demo \
    && install -d -o 65533 -g workspace -m 2750 /workspace/dbt-metric
COPY --from=build /opt/mage-dbt /opt/mage-dbt
# Forms and guides of Mage, which the runner writes anew for each live commit.
COPY mage_project /opt/mage-dbt/mage_project
COPY dbt/profiles /opt/mage-dbt/dbt/profiles
COPY dbt/demo_warehouse /opt/mage-dbt/dbt/demo_warehouse
COPY dbt/dbt-metric /opt/mage-dbt/dbt/dbt-metric
ENV PATH=/opt/mage-dbt/.workspace/env/dbt/bin:/usr/local/bin:/usr/bin:/bin \
    USER=runner \
    TOOL_COMMAND=mage-dbt \
    WORKSPACE_HOME=/workspace
USER 10002:10000
# As this user, in this environment: what cannot be read fails here, not where it runs.
RUN ["python", "-P", "-c", "import mage_dbt.container.runner, mage_dbt.container.prepare, mage_dbt.launcher.backup, mage_dbt.server.app"]
WORKDIR /workspace
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s \
    CMD ["python", "-P", "-m", "mage_dbt.container.probe", "runner"]
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
CMD ["python", "-P", "-m", "mage_dbt.container.runner"]
