"""Initializes Earth Engine in both ways of its documentation, and once without its client; unmodified but for the endpoint.

usage: earth_engine.py CREDENTIALS_FILE URL PROJECT
       earth_engine.py --machine URL PROJECT

With a file: ee.ServiceAccountCredentials, and plain REST by google-auth's AuthorizedSession. With --machine: the account of
the machine, by the metadata server that GCE_METADATA_HOST names. Prints one JSON object with the client's version, what it
computed, and how the project is registered.
"""

import json
import sys

import ee
from google.auth import compute_engine
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/earthengine"


def by_rest(path: str, url: str, project: str) -> dict:
    credentials = service_account.Credentials.from_service_account_file(path, scopes=[SCOPE])
    session = AuthorizedSession(credentials)
    expression = {"result": "0", "values": {"0": {"constantValue": 7}}}
    answer = session.post(f"{url}/v1/projects/{project}/value:compute", json={"expression": expression})
    config = session.get(f"{url}/v1/projects/{project}/config")
    return {"rest": answer.json()["result"], "registered": config.json()["registrationState"]}


def main(who: str, url: str, project: str) -> int:
    told: dict = {"version": ee.__version__}
    if who == "--machine":
        credentials = compute_engine.Credentials(scopes=[SCOPE])
    else:
        # The client takes the address from the file and ignores this one.
        credentials = ee.ServiceAccountCredentials("", who)
        told.update(by_rest(who, url, project))
    ee.Initialize(credentials, url=url, project=project)
    told["sum"] = ee.Number(1).add(2).getInfo()
    told["list"] = ee.List([1, "two"]).getInfo()
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
