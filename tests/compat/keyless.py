"""Speaks for an account by the file that GOOGLE_APPLICATION_CREDENTIALS names, as a program in a pod does: no key, unmodified.

usage: keyless.py URL PROJECT

google.auth.default() finds and reads the file, which names a projected token; the token of the account that it gets in exchange
asks the server about the project. Prints one JSON object: {"version", "kind", "status", "project"}. No token is printed.
"""

import json
import sys
from importlib import metadata

import google.auth
from google.auth.transport.requests import AuthorizedSession

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def main(url: str, project: str) -> int:
    credentials, _ = google.auth.default(scopes=[SCOPE])
    answer = AuthorizedSession(credentials).get(f"{url}/v1/projects/{project}")
    told = {"version": metadata.version("google-auth"), "kind": type(credentials).__name__, "status": answer.status_code}
    told["project"] = answer.json().get("projectId")
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
