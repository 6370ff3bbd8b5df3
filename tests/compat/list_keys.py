"""Lists the keys that people and programs made for an account, as the backend sees them.

usage: list_keys.py CREDENTIALS_FILE BASE_URL PROJECT EMAIL

Logs in with the credentials file by google-auth and prints a JSON array of {"id", "disabled"}; exit code 0. Any other
answer than 200 is exit code 2 with the answer on standard error.
"""

import json
import sys

import google.auth.transport.requests
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def main(path: str, base: str, project: str, email: str) -> int:
    credentials = service_account.Credentials.from_service_account_file(path, scopes=[SCOPE])
    session = google.auth.transport.requests.AuthorizedSession(credentials)
    url = f"{base}/v1/projects/{project}/serviceAccounts/{email}/keys"
    answer = session.get(url, params={"keyTypes": "USER_MANAGED"}, timeout=10)
    if answer.status_code != 200:
        print(f"{answer.status_code}: {answer.text}", file=sys.stderr)
        return 2
    keys = [
        {"id": key["name"].rsplit("/", 1)[-1], "disabled": key.get("disabled", False)}
        for key in answer.json().get("keys", [])
    ]
    print(json.dumps(keys))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
