"""Fetches a token with a credentials file, as any unmodified client does, and says what came of it.

usage: exchange.py CREDENTIALS_FILE | -

Prints one JSON object. Exit code 0: {"token_length", "expiry"}; 1: {"refused": the client's own words}, the token
endpoint said no; 2 (with a message on standard error): neither, for instance no connection or a server error.
With `-` it judges the files that standard input names, one a line, and answers each with one line: the same objects, or
{"unclear"}. The token and the private key are never printed.
"""

import json
import sys

import google.auth.transport.requests
from google.auth import exceptions
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def judge(path: str) -> tuple[int, dict]:
    try:
        credentials = service_account.Credentials.from_service_account_file(path, scopes=[SCOPE])
        credentials.refresh(google.auth.transport.requests.Request())
    except exceptions.RefreshError as error:
        # A refusal is final; an error that the client would retry is the server's trouble, not an answer.
        if error.retryable:
            return 2, {"unclear": f"the token endpoint is in trouble: {error}"}
        return 1, {"refused": str(error)}
    except exceptions.TransportError as error:
        return 2, {"unclear": f"no answer: {error}"}
    except ValueError as error:
        # Of a broken file only the kind of error is told: the words could hold parts of it.
        return 2, {"unclear": f"not a credentials file: {type(error).__name__}"}
    return 0, {"token_length": len(credentials.token), "expiry": f"{credentials.expiry.isoformat()}Z"}


def main(path: str) -> int:
    if path == "-":
        for line in sys.stdin:
            print(json.dumps(judge(line.rstrip("\n"))[1]), flush=True)
        return 0
    code, answer = judge(path)
    if code == 2:
        print(answer["unclear"], file=sys.stderr)
    else:
        print(json.dumps(answer))
    return code


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
