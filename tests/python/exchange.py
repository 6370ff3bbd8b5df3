"""Fetches a token with a credentials file, as any unmodified client does, and says what came of it.

usage: exchange.py CREDENTIALS_FILE

Prints one JSON object. Exit code 0: {"token_length", "expiry"}; 1: {"refused": the client's own words}, the token
endpoint said no; 2 (with a message on standard error): neither, for instance no connection or a server error.
The token and the private key are never printed.
"""

import json
import sys

import google.auth.transport.requests
from google.auth import exceptions
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def main(path: str) -> int:
    credentials = service_account.Credentials.from_service_account_file(path, scopes=[SCOPE])
    try:
        credentials.refresh(google.auth.transport.requests.Request())
    except exceptions.RefreshError as error:
        # A refusal is final; an error that the client would retry is the server's trouble, not an answer.
        if error.retryable:
            print(f"the token endpoint is in trouble: {error}", file=sys.stderr)
            return 2
        print(json.dumps({"refused": str(error)}))
        return 1
    except exceptions.TransportError as error:
        print(f"no answer: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"token_length": len(credentials.token), "expiry": f"{credentials.expiry.isoformat()}Z"}))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
