// An OpenID provider for development and tests, on loopback only: whoever opens its page chooses who
// to be, without a password. Never in front of anything that others can reach.
//
//     node provider.mjs <settings.json>
//
// The settings, all of them needed but the host:
//     port          the issuer is http://127.0.0.1:<port>
//     host          where it listens; another than 127.0.0.1 only in a container of its own whose
//                   port is published on loopback
//     people        file with the people, read anew at every login and every refresh
//     keys          file with the signing key (a JWK set); made when missing
//     application   { id, secretFile, redirect } - the workspace's client
//     machines      [{ id, secretFile, groups }] - clients that get JWTs by client_credentials
//     audience      of the machines' JWTs

import { createServer } from 'node:http';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync, randomBytes } from 'node:crypto';

import { Provider, interactionPolicy } from 'oidc-provider';

const HOST = '127.0.0.1';
const MACHINE_RESOURCE = 'urn:workspace:machines';
const LONGEST_FORM = 4096; // bytes
const TOKEN_SECONDS = 600;
const SESSION_SECONDS = 12 * 3600;

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const machines = new Map(settings.machines.map((one) => [one.id, one]));

function people() {
  return JSON.parse(readFileSync(settings.people, 'utf8'));
}

function signingKeys() {
  if (!existsSync(settings.keys)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'development' };
    writeFileSync(settings.keys, JSON.stringify({ keys: [key] }), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(settings.keys, 'utf8'));
}

function secret(file) {
  return readFileSync(file, 'utf8').trim();
}

function account(email) {
  const person = people().find((one) => one.email === email);
  if (!person) return undefined; // taken off the list: the next refresh fails
  return {
    accountId: person.email,
    claims: () => ({
      sub: person.email,
      email: person.email,
      email_verified: true,
      name: person.name,
      preferred_username: person.name.toLowerCase(),
      groups: person.groups,
    }),
  };
}

// Asked at every login, so that signing out and in again is a choice of person.
function alwaysAsk() {
  const policy = interactionPolicy.base();
  const { Check } = interactionPolicy;
  policy.get('login').checks.add(
    new Check('choose', 'the person is chosen at every login', (context) =>
      context.oidc.result?.login ? Check.NO_NEED_TO_PROMPT : Check.REQUEST_PROMPT,
    ),
  );
  return policy;
}

const issuer = `http://${HOST}:${settings.port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: settings.application.id,
      client_secret: secret(settings.application.secretFile),
      redirect_uris: [settings.application.redirect],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    },
    ...settings.machines.map((one) => ({
      client_id: one.id,
      client_secret: secret(one.secretFile),
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
    })),
  ],
  jwks: signingKeys(),
  findAccount: (context, sub) => account(sub),
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  conformIdTokenClaims: false, // the proxy reads them from the ID token, as most providers put them there
  pkce: { required: () => true },
  // Parallel requests refresh with the same token: see docs/login.md.
  rotateRefreshToken: false,
  issueRefreshToken: async (context, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: async () => false,
  ttl: {
    AccessToken: TOKEN_SECONDS,
    ClientCredentials: TOKEN_SECONDS,
    IdToken: TOKEN_SECONDS,
    Grant: SESSION_SECONDS,
    RefreshToken: SESSION_SECONDS,
    Session: SESSION_SECONDS,
    Interaction: TOKEN_SECONDS,
    AuthorizationCode: 60,
  },
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  interactions: { policy: alwaysAsk(), url: (context, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (context) => {
    // The application is the workspace itself: nobody is asked for consent.
    const grant = new context.oidc.provider.Grant({
      clientId: context.oidc.client.clientId,
      accountId: context.oidc.session.accountId,
    });
    grant.addOIDCScope('openid email profile groups offline_access');
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (context, client) =>
        client && machines.has(client.clientId) ? MACHINE_RESOURCE : undefined,
      getResourceServerInfo: async () => ({
        audience: settings.audience,
        scope: 'api',
        accessTokenFormat: 'jwt',
        accessTokenTTL: TOKEN_SECONDS,
        jwt: { sign: { alg: 'RS256' } },
      }),
      useGrantedResource: async () => true,
    },
  },
  extraTokenClaims: async (context, token) => {
    const machine = machines.get(token.clientId);
    return machine ? { groups: machine.groups } : undefined;
  },
});

function escaped(text) {
  return String(text).replace(/[&<>"']/g, (one) => `&#${one.codePointAt(0)};`);
}

function page(uid) {
  const choices = people()
    .map(({ email, name, groups }) => {
      const group = groups.length ? groups.join(', ') : 'in no group';
      return (
        `<p><button name="email" value="${escaped(email)}">${escaped(name)}</button> ` +
        `${escaped(email)}, ${escaped(group)}</p>`
      );
    })
    .join('\n');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Development sign-in</title>
<style>
body { font: 16px sans-serif; max-width: 34em; margin: 4em auto; padding: 0 1em }
button { font: inherit; min-width: 6em; padding: .4em 1em }
</style></head><body>
<h1>Who are you?</h1>
<p>A provider for development: it asks for no password. Whoever can open a connection on this
machine can be any of these.</p>
<form method="post" action="/interaction/${escaped(uid)}">
${choices}
</form></body></html>`;
}

async function form(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > LONGEST_FORM) throw new Error('the form is too long');
  }
  return new URLSearchParams(text);
}

async function interaction(request, response) {
  const { uid } = await provider.interactionDetails(request, response);
  if (request.method !== 'POST') {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' });
    response.end(page(uid));
    return;
  }
  const email = (await form(request)).get('email');
  const result = account(email)
    ? { login: { accountId: email } }
    : { error: 'access_denied', error_description: 'there is nobody of that name' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const answer = provider.callback();
createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) {
    answer(request, response);
    return;
  }
  interaction(request, response).catch((error) => {
    if (!response.headersSent) response.writeHead(400, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.end(`${error.message}\n`);
  });
}).listen(settings.port, settings.host ?? HOST, () => console.log(`The development provider is at ${issuer}`));
