"""Every key method of IAM v1 by google-api-python-client, with the discovery document that it brings along.

usage: api_client.py CREDENTIALS_FILE URL PROJECT EMAIL

The credentials may administer keys of the account EMAIL. Makes keys in both file formats and both sizes, reads their public
halves in both forms, switches one off and on, uploads one, and deletes what it made. Prints one JSON object with the
client's version and the methods that it called. No key material is printed.
"""

import base64
import datetime
import json
import sys

import googleapiclient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from google.api_core.client_options import ClientOptions
from google.oauth2 import service_account
from googleapiclient import discovery
from importlib import metadata

PASSWORD = b"notasecret"


def certificate() -> bytes:
    """A self-signed one, as the documentation of keys.upload makes it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unused")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(minutes=5))
    made = builder.not_valid_after(now + datetime.timedelta(days=30)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def main(path: str, url: str, project: str, email: str) -> int:
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = service_account.Credentials.from_service_account_file(path, scopes=scopes)
    options = ClientOptions(api_endpoint=url)
    iam = discovery.build(
        "iam", "v1", credentials=credentials, client_options=options, static_discovery=True, cache_discovery=False
    )
    keys = iam.projects().serviceAccounts().keys()
    account = f"projects/{project}/serviceAccounts/{email}"
    calls: list[str] = []

    def call(method: str, **arguments: object) -> dict:
        calls.append(method)
        return getattr(keys, method)(**arguments).execute()

    def public(name: str, form: str) -> bytes:
        return base64.b64decode(call("get", name=name, publicKeyType=form)["publicKeyData"], validate=True)

    made = []
    for form, algorithm, bits in [
        ("TYPE_GOOGLE_CREDENTIALS_FILE", "KEY_ALG_RSA_2048", 2048),
        ("TYPE_PKCS12_FILE", "KEY_ALG_RSA_2048", 2048),
        ("TYPE_PKCS12_FILE", "KEY_ALG_RSA_1024", 1024),
    ]:
        body = {"privateKeyType": form, "keyAlgorithm": algorithm}
        key = call("create", name=account, body=body)
        assert key["privateKeyType"] == form and key["keyAlgorithm"] == algorithm, form
        data = base64.b64decode(key["privateKeyData"], validate=True)
        if form == "TYPE_PKCS12_FILE":
            private, certified, _ = pkcs12.load_key_and_certificates(data, PASSWORD)
            assert certified.public_key() == private.public_key(), "the certificate is of another key"
        else:
            private = serialization.load_pem_private_key(json.loads(data)["private_key"].encode(), None)
        assert private.key_size == bits, private.key_size
        by_certificate = x509.load_pem_x509_certificate(public(key["name"], "TYPE_X509_PEM_FILE"))
        assert by_certificate.public_key() == private.public_key()
        raw = serialization.load_pem_public_key(public(key["name"], "TYPE_RAW_PUBLIC_KEY"))
        assert raw == private.public_key()
        made.append(key["name"])
    uploaded = call("upload", name=account, body={"publicKeyData": base64.b64encode(certificate()).decode()})
    assert uploaded["keyOrigin"] == "USER_PROVIDED", uploaded
    made.append(uploaded["name"])
    call("disable", name=made[0], body={})
    assert call("get", name=made[0])["disabled"] is True
    call("enable", name=made[0], body={})
    listed = {key["name"] for key in call("list", name=account, keyTypes="USER_MANAGED")["keys"]}
    assert listed.issuperset(made), listed
    assert call("list", name=account, keyTypes="SYSTEM_MANAGED")["keys"], "every account has one"
    for name in made:
        call("delete", name=name)
    left = {key["name"] for key in call("list", name=account, keyTypes="USER_MANAGED").get("keys", [])}
    assert left.isdisjoint(made), left
    version = metadata.version(googleapiclient.__name__.replace("googleapiclient", "google-api-python-client"))
    print(json.dumps({"version": version, "calls": sorted(set(calls)), "count": len(calls)}))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
