# The development identity provider: whoever opens its page chooses who to be. Only for
# docker-compose.development.yml.
ARG NODE_IMAGE=node:20.19.5-bookworm-slim

# checkov:skip=CKV_DOCKER_7: the argument above has the version
FROM ${NODE_IMAGE}
WORKDIR /app
COPY oauth2-proxy/development-provider/package.json oauth2-proxy/development-provider/package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund --ignore-scripts
COPY oauth2-proxy/development-provider/provider.mjs oauth2-proxy/development-provider/people.json ./
COPY images/development-provider.json settings.json
USER 1000:10000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s \
    CMD ["node", "-e", "fetch('http://127.0.0.1:4183/.well-known/openid-configuration').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "provider.mjs", "settings.json"]
