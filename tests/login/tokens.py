"""JWTs as an attacker would make them, and as the provider does; signed by node, whose crypto the
provider has too."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

SIGN = r"""
import * as crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
const { header, claims, how, keys } = JSON.parse(readFileSync(0, 'utf8'));
const [key] = JSON.parse(readFileSync(keys, 'utf8')).keys;
const real = crypto.createPrivateKey({ key, format: 'jwk' });
const another = () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
const other = how.startsWith('a') || how.startsWith('own') ? another() : undefined;
if (how === 'own key in the header') {
  header.jwk = other.publicKey.export({ format: 'jwk' });
}
const part = (one) => Buffer.from(JSON.stringify(one)).toString('base64url');
const text = `${part(header)}.${part(claims)}`;
const pem = crypto.createPublicKey(real).export({ type: 'spki', format: 'pem' });
const signature = {
  'real key': () => crypto.sign('sha256', Buffer.from(text), real),
  'another key': () => crypto.sign('sha256', Buffer.from(text), other.privateKey),
  'own key in the header': () => crypto.sign('sha256', Buffer.from(text), other.privateKey),
  'public key as a secret': () => crypto.createHmac('sha256', pem).update(text).digest(),
  nothing: () => Buffer.alloc(0),
}[how]();
console.log(`${text}.${signature.toString('base64url')}`);
"""


def claims(issuer: str, audience: str, **more: Any) -> dict[str, Any]:
    """What a good token says, with changes."""
    now = int(time.time())
    good = {
        "iss": issuer,
        "aud": audience,
        "sub": "mallory",
        "groups": ["operators"],
        "iat": now,
        "exp": now + 300,
    }
    return good | more


def make(keys: Path, said: dict[str, Any], how: str = "real key", algorithm: str = "RS256") -> str:
    """A JWT that says so, signed `how`; `keys` is the provider's own file."""
    order = {
        "header": {"alg": algorithm, "typ": "JWT", "kid": "development"},
        "claims": said,
        "how": how,
        "keys": str(keys),
    }
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SIGN.strip()],
        input=json.dumps(order),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
