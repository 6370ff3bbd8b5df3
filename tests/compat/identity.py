"""Checks a credentials file against the public key endpoints that it names, with unmodified libraries.

usage: identity.py CREDENTIALS_FILE

google-auth signs a JWT with the file's key and verifies it with the certificates at client_x509_cert_url; cryptography
compares the certificate, the JWK and the raw key with the private key. Prints one JSON object. Exit code 0: {"issuer",
"key", "published", "not_after", "version"}; 1: {"refused": why}, the key is not among the published ones; anything else is trouble.
The private key and the JWT are never printed.
"""

import base64
import json
import sys
import time

import google.auth
import google.auth.transport.requests
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.auth import exceptions, jwt
from google.oauth2 import id_token, service_account

AUDIENCE = "https://keywheel.example"


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        info = json.load(file)
    key_id = info["private_key_id"]
    public = serialization.load_pem_private_key(info["private_key"].encode(), None).public_key().public_numbers()

    request = google.auth.transport.requests.Request()

    def fetch(form: str) -> dict:
        answer = request(url=info["client_x509_cert_url"].replace("/x509/", f"/{form}/"), method="GET")
        if answer.status != 200:
            raise RuntimeError(f"{form}: status {answer.status}")
        return json.loads(answer.data)

    certificates = fetch("x509")
    if key_id not in certificates:
        print(json.dumps({"refused": f"{key_id} is not among {sorted(certificates)}"}))
        return 1

    certificate = x509.load_pem_x509_certificate(certificates[key_id].encode())
    assert certificate.public_key().public_numbers() == public, "the certificate holds another key"
    certificate.public_key().verify(
        certificate.signature,
        certificate.tbs_certificate_bytes,
        padding.PKCS1v15(),
        certificate.signature_hash_algorithm,
    )
    (jwk,) = [jwk for jwk in fetch("jwk")["keys"] if jwk["kid"] == key_id]
    assert rsa.RSAPublicNumbers(number(jwk["e"]), number(jwk["n"])) == public, "the JWK is another key"
    raw = serialization.load_pem_public_key(fetch("raw")[key_id].encode())
    assert raw.public_numbers() == public, "the raw key is another key"

    signer = service_account.Credentials.from_service_account_file(path).signer
    now = int(time.time())
    token = jwt.encode(signer, {"iss": info["client_email"], "aud": AUDIENCE, "iat": now, "exp": now + 600})
    try:
        claims = id_token.verify_token(token, request, AUDIENCE, certs_url=info["client_x509_cert_url"])
    except (ValueError, exceptions.GoogleAuthError) as error:
        print(json.dumps({"refused": str(error)}))
        return 1
    not_after = certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    print(
        json.dumps(
            {
                "issuer": claims["iss"],
                "key": key_id,
                "published": len(certificates),
                "not_after": not_after,
                "version": google.auth.__version__,
            }
        )
    )
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
